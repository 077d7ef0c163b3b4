"""How often do the intervals of `gipo compare` cover the truth, when they rest on few seeds?

    python examples/studies/coverage.py > examples/studies/coverage.md

Scores of a run are normal around 0 on every log, so the true interquartile mean is 0 and the true probability of
improvement 1/2; 400 trials a row, the bootstrap as it is. Two minutes on one core.
"""

import numpy as np

from gipo_cli.evaluation.aggregates import interquartile_mean, probability_of_improvement

TRIALS = 400


def covers(found: dict[str, float | None], truth: float) -> bool:
    """Whether an interval holds the truth."""
    return found["lower"] <= truth <= found["upper"]


def main() -> None:
    """Print the table as Markdown."""
    print("# Coverage of the 95 % intervals of `gipo compare`\n")
    print(f"`python examples/studies/coverage.py`: normal scores, {TRIALS} trials a row (so ± 2 points at 95 %).\n")
    print("| logs | seeds a log | interquartile mean | probability of improvement |")
    print("| --- | --- | --- | --- |")
    rng = np.random.default_rng(0)
    for logs, seeds in ((1, 3), (1, 5), (1, 10), (3, 3), (3, 5), (6, 3), (6, 5)):
        held = np.zeros(2)
        for _ in range(TRIALS):
            first, second = (list(rng.standard_normal((logs, seeds))) for _ in range(2))
            held += covers(interquartile_mean(first), 0.0), covers(probability_of_improvement(first, second), 0.5)
        print(f"| {logs} | {seeds} | {held[0] / TRIALS:.0%} | {held[1] / TRIALS:.0%} |", flush=True)


if __name__ == "__main__":
    main()
