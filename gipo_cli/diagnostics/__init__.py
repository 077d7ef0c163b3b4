"""One file per statistic of importance weights: numpy in, plain numbers and findings out.

Thresholds are named constants with their source beside them. Nothing here imports torch, and no statistic is ever
nan: what cannot be known raises ValueError with the reason.
"""
