"""Small Markov decision processes of which everything is known, and logs of them."""

import itertools
from dataclasses import dataclass

import numpy as np

from gipo_cli.evaluation.estimators import Evidence


@dataclass(frozen=True)
class Chain:
    """S states and A actions; an episode ends by `stop` or after `limit` steps, and then terminates."""

    start: np.ndarray  # [S]
    step: np.ndarray  # P(s' | s, a), [S, A, S]
    reward: np.ndarray  # [S, A]
    stop: np.ndarray  # chance that (s, a) is the last, [S, A]
    limit: int
    discount: float = 0.9

    def qualities(self, policy: np.ndarray) -> np.ndarray:
        """Q by the number of steps made before, [limit + 1, S, A]; 0 after the limit."""
        found = np.zeros((self.limit + 1, *self.reward.shape))
        for t in reversed(range(self.limit)):
            after = (policy * found[t + 1]).sum(-1)
            found[t] = self.reward + self.discount * (1 - self.stop) * (self.step @ after)
        return found

    def value(self, policy: np.ndarray) -> float:
        """What the policy earns."""
        return float(self.start @ (policy * self.qualities(policy)[0]).sum(-1))

    def visits(self, policy: np.ndarray) -> np.ndarray:
        """Chance to be in s at step t and take a, [limit, S, A]."""
        found, now = [], self.start
        for _ in range(self.limit):
            found.append(now[:, None] * policy)
            now = np.einsum("sa,sat->t", found[-1] * (1 - self.stop), self.step)
        return np.array(found)

    def every_episode(self, behaviour: np.ndarray, cut: int) -> list[tuple[float, list[tuple[int, int, int]], bool]]:
        """Every episode that there can be: its chance, its (state, action, next state), and whether it was cut."""
        open_ones = [(p, [], s) for s, p in enumerate(self.start)]
        done = []
        states, actions = range(len(self.start)), range(self.reward.shape[1])
        for t in range(cut):
            further = []
            for (chance, steps, s), a in itertools.product(open_ones, actions):
                p = chance * behaviour[s, a]
                done.append((p * self.stop[s, a], [*steps, (s, a, s)], False))
                for after in states:
                    on = (p * (1 - self.stop[s, a]) * self.step[s, a, after], [*steps, (s, a, after)])
                    further.append((*on, after)) if t + 1 < cut else done.append((*on, True))
            open_ones = further
        return [each for each in done if each[0] > 0]


def chain(seed: int = 0, limit: int = 3) -> Chain:
    """A chain of two states and two actions."""
    rng = np.random.default_rng(seed)
    step = rng.dirichlet(np.ones(2), (2, 2))
    return Chain(np.array([0.7, 0.3]), step, rng.normal(0, 1, (2, 2)), rng.uniform(0.1, 0.4, (2, 2)), limit)


def evidence_of_everything(
    process: Chain,
    policy: np.ndarray,
    behaviour: np.ndarray,
    quality: np.ndarray | None = None,
    cut: int | None = None,
) -> tuple[Evidence, np.ndarray]:
    """Every episode once, and the chance of each: estimates at these counts are expectations, without any noise.

    Args:
        process: that is logged.
        policy: pi(a | s), [S, A].
        behaviour: beta(a | s), [S, A].
        quality: in place of the true Q, [limit + 1, S, A].
        cut: steps after which the log cuts an episode that has not ended; after `limit` there is nothing to cut.
    """
    quality = process.qualities(policy) if quality is None else quality
    of_behaviour = process.qualities(behaviour)
    ratio = policy / behaviour
    here = process.visits(policy) * process.discount ** np.arange(process.limit)[:, None, None]
    weight = here / process.visits(behaviour)
    columns: dict[str, list[float]] = {name: [] for name in Evidence.__dataclass_fields__ if name != "discount"}
    episodes = process.every_episode(behaviour, cut or process.limit)
    for number, (_, steps, was_cut) in enumerate(episodes):
        for t, (s, a, after) in enumerate(steps):
            goes_on = t + 1 < len(steps) or was_cut
            row = {
                "episode": number, "reward": process.reward[s, a], "log_ratio": np.log(ratio[s, a]),
                "quality": quality[t, s, a], "value": policy[s] @ quality[t, s],
                "value_after": policy[after] @ quality[t + 1, after] if goes_on else 0.0,
                "state_value": policy[s] @ quality[t, s],
                "state_value_after": policy[after] @ quality[t + 1, after] if goes_on else 0.0,
                "marginal_weight": weight[t, s, a], 
                "behaviour_value_after": behaviour[after] @ of_behaviour[t + 1, after] if goes_on else 0.0,
            }  # fmt: skip
            for name, value in row.items():
                columns[name].append(value)
    arrays = {name: np.array(column) for name, column in columns.items()}
    return Evidence(discount=process.discount, **arrays), np.array([chance for chance, _, _ in episodes])
