"""Runs that differ in seed and sigma alone, trained side by side in one process: `gipo train --seeds 0-7`.

Each member is a run like any other, in a directory of its own, by the code of single runs; only the updates of their
policies are one computation.
"""
