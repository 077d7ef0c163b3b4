"""`python -m gipo_cli` is `gipo`."""

from gipo_cli.cli import main

main()
