"""Warm start, the loop and its checkpoints."""
