"""Train policies from logged data with GIPO, and see whether to believe them."""

__version__ = "0.1.0"
