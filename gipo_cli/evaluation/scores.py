"""D4RL's normalised score."""

# (return of a random policy, return of an expert): Farama-Foundation/D4RL, d4rl/infos.py. Measured on the -v2
# environments; v4 and v5 changed physics and rewards a little, so scores compare within this tool, not to the digit.
REFERENCES = {
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
    "halfcheetah": (-280.178953, 12135.0),
}


def score(environment_id: str, mean_return: float) -> float | None:
    """100 (return - random) / (expert - random); none where D4RL has no reference for the environment."""
    reference = REFERENCES.get(environment_id.partition("-")[0].lower())
    if reference is None:
        return None
    random, expert = reference
    return 100 * (mean_return - random) / (expert - random)
