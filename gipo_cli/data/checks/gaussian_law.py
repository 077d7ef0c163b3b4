"""The law that log-probs of every diagonal Gaussian follow, however narrow it is and wherever its mean lies.

Of an action a drawn from beta(.|s), u being a before it was squashed by tanh, J(u) the Jacobian (1 if it was not), and
A the dimensions,

    log beta(a|s) + log J(u) = c(s) - (z_1^2 + ... + z_A^2) / 2,    z ~ N(0, I)

so given the state it varies by A / 2, and its long tail is below. A network of the state foretells c(s), a function of
the widths alone, where a clone has to find the mean to within a width. What it misses follows the law or does not:
logs to base 2 vary by 1 / ln(2)^2 = 2.08 times as much, those of the policy at temperature T by T^-4.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gipo_cli.data.checks.sample import Sample
from gipo_cli.policies.likelihood import descend

STEPS, FEWEST_STEPS, MOST_PASSES, BATCH, WIDTH, LEARNING_RATE = 2000, 200, 100, 512, 128, 1e-3
# `gipo datasets check` says it of any log: 0.99 to 1.09 on those of examples/studies/spoiled_logs.py.
SPREAD = 1.6  # factor by which the variance may be off beyond noise
MOST_UNUSABLE = 0.1  # share of rows too near a bound to be compared: the law is that of all rows, not of some
REPEATED = 0.2  # share of rows with one and the same value, which were not drawn from a Gaussian
OUTLIER = 10.0  # standard deviations from which on a value pulls no harder


@dataclass(frozen=True)
class Law:
    """How values that may be log-probs vary given the state, held against the law, over rows not seen."""

    variance: float  # given the state, in units of A / 2
    skewness: float  # in units of the law's, -sqrt(8 / A)
    error: float  # of the log of the variance
    foretold: np.ndarray  # [n]: log-prob and log-Jacobian expected in the state

    def holds(self) -> bool:
        """Whether the values vary as log-probs of a diagonal Gaussian do."""
        return self.skewness > 0 and abs(np.log(self.variance)) <= np.log(SPREAD) + 2 * self.error

    def is_tempered(self) -> bool:
        """Whether they vary as log-probs of a diagonal Gaussian at another temperature do."""
        return self.skewness > 0 and not self.holds()

    @property
    def temperature(self) -> float:
        """At which the policy that acted would have these log-probs."""
        return float(self.variance**-0.25)

    def at_one(self, values: np.ndarray, sample: Sample) -> np.ndarray:
        """The values [n] brought from that temperature T to 1.

        With m = log beta_T + log J foretold and r what is left, it is m + A / (2 T^2) + A log T - A / 2 + T^2 r.
        """
        dimensions, squared = sample.actions.shape[1], self.temperature**2
        level = dimensions / 2 * (1 / squared + np.log(squared) - 1)
        jacobian = _jacobian(sample)
        return self.foretold + level + squared * (values + jacobian - self.foretold) - jacobian


def laws_of(sample: Sample, features: np.ndarray, held_out: np.ndarray, columns: list[np.ndarray]) -> list[Law | None]:
    """The law of each column of values [n]; none where it cannot be told.

    Args:
        sample: rows of continuous actions.
        features: what foretells, [n, F].
        held_out: rows [n] that the network does not see; the law is that of these.
        columns: values that may be log-probs, nan where a row has none; the first is as it was recorded.
    """
    none: list[Law | None] = [None] * len(columns)
    if sample.usable.mean() < 1 - MOST_UNUSABLE:
        return none
    rows = sample.usable & ~_repeated(columns[0])
    targets = np.stack(columns, 1) + _jacobian(sample)[:, None]
    told = [c for c in range(len(columns)) if _can_be_told(targets[:, c], rows & ~held_out, rows & held_out)]
    if not told:
        return none
    foretold = _foretold(features, targets[:, told], rows & ~held_out)
    found = dict(zip(told, foretold.T, strict=True))
    return [
        _law(targets[:, c], found[c], rows & held_out, sample.actions.shape[1]) if c in found else None
        for c in range(len(columns))
    ]


def _law(target: np.ndarray, foretold: np.ndarray, rows: np.ndarray, dimensions: int) -> Law:
    missed = (target - foretold)[rows & np.isfinite(target)]
    missed -= missed.mean()
    variance = float((missed**2).mean())
    skewness = float((missed**3).mean() / variance**1.5 / -np.sqrt(8 / dimensions))
    # The fourth moment of a sum of A squares of standard normals is 3 + 12 / A times the variance's square.
    error = float(np.sqrt((2 + 12 / dimensions) / len(missed)))
    return Law(variance / (dimensions / 2), skewness, error, foretold)


def _jacobian(sample: Sample) -> np.ndarray:
    return np.zeros(len(sample.values)) if sample.around.jacobian is None else sample.around.jacobian


def _repeated(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts > REPEATED * len(values))[which]


def _can_be_told(target: np.ndarray, *parts: np.ndarray) -> bool:
    finite = np.isfinite(target)
    return all((rows & finite).sum() > 1 and np.ptp(target[rows & finite]) > 0 for rows in parts)


def _foretold(features: np.ndarray, targets: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Each target's mean given the features, [n, C], by one network fitted to the rows seen."""
    known = np.isfinite(targets)
    masked = np.ma.masked_array(targets, ~known | ~seen[:, None])
    middle, scale = masked.mean(0).data, masked.std(0).data
    wanted = np.where(known, (targets - middle) / scale, 0).clip(-OUTLIER, OUTLIER)
    inputs, wanted_of = _standardised(features, seen), torch.as_tensor(wanted, dtype=torch.float32)
    weight = torch.as_tensor(known, dtype=torch.float32)
    rows, generator = torch.as_tensor(np.flatnonzero(seen)), torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(inputs.shape[1], WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(),
            nn.Linear(WIDTH, targets.shape[1]),
        )  # fmt: skip

    def loss(_: int) -> Tensor:
        batch = rows[torch.randint(len(rows), (BATCH,), generator=generator)]
        return ((network(inputs[batch]) - wanted_of[batch]).square() * weight[batch]).mean()

    steps = min(STEPS, max(FEWEST_STEPS, MOST_PASSES * len(rows) // BATCH))
    for _ in descend(network, loss, steps=steps, learning_rate=LEARNING_RATE, max_gradient_norm=1):
        pass
    with torch.no_grad():
        return network(inputs).double().numpy() * scale + middle


def _standardised(features: np.ndarray, seen: np.ndarray) -> Tensor:
    middle, scale = features[seen].mean(0), features[seen].std(0).clip(1e-6)
    return torch.as_tensor(((features - middle) / scale).clip(-10, 10).astype(np.float32))
