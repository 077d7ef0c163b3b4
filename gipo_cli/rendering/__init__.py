"""What a person sees, in a terminal (rich, in terminal.py alone) and in pictures (matplotlib, in plots.py alone)."""
