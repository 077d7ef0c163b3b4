"""Shapes, numbers, bounds, episode ends and duplicates: all that can be said without a policy."""

from collections.abc import Callable, Iterator

import numpy as np

from gipo_cli.data.findings import Finding
from gipo_cli.data.log_prob_errors import uniform_log_prob
from gipo_cli.data.resident import BLOCK, blocks, rows_of
from gipo_cli.data.trajectories import Trajectories

LARGEST_NUMBER = float(np.finfo(np.float32).max)
SATURATED = 1 - 1e-6  # |a| beyond this has lost its pre-squash value in float32
MOST_CHOICES = 2**16  # a policy has a row of weights for each, and so many at most; a damaged header can claim 10^15
# A density over real numbers hardly ever gives two actions the same value to the last bit.
MOST_AT_ONE_VALUE = 0.005
# Log-probs of few bits (float16) share values too, but then with those beside them.
NEIGHBOURS, STANDS_OUT = 4, 5
MOST_AT_BOUNDS = 0.001  # share of steps with such an action that a Gaussian does not reach by chance
SAME_LENGTH = 0.9  # share of terminated episodes with one length that looks like a limit
ENOUGH_EPISODES = 5


def check_shapes(log: Trajectories) -> list[Finding]:
    """Whether the columns belong together; nothing else can be said where they do not."""
    steps = log.transitions
    for name, column in log.columns().items():
        if len(column) != steps:
            return [_error("length", len(column), f"'{name}' has {len(column)} rows, 'rewards' {steps}.")]
    if len(log.final_observations) != log.episodes or (log.episode_lengths <= 0).any():
        return [_error("length", log.episodes, f"its episodes do not cover its {steps} rows.")]
    if 0 in log.observations.shape:
        return [
            _error("shape", 0, f"the observations have shape {list(log.observations.shape)}: there is nothing to see.")
        ]
    kind, shape = log.behaviour_log_probs.dtype, log.behaviour_log_probs.shape
    if kind.kind not in "fiu":
        return [_error("type", kind.itemsize, f"the log-probs are of type {kind}; expected numbers.")]
    if len(shape) == 1:
        return []
    if len(shape) == 2 and shape[1:] == log.actions.shape[1:]:
        return [_error(
            "per-dimension", shape[1], f"the log-probs have shape {list(shape)}: one a dimension of the action.",
            "the ratio of a step is that of its joint density; one column of it is another policy's.", "sum-dimensions",
        )]  # fmt: skip
    return [_error("shape", len(shape), f"the log-probs have shape {list(shape)}; expected [{steps}].")]


def check_numbers(log: Trajectories) -> list[Finding]:
    """Whether every number is one, and every choice one of the choices."""
    columns = {**log.columns(), "final_observations": log.final_observations}
    if log.log_probs_origin == "none":
        del columns["behaviour_log_probs"]
    findings = [found for name, column in columns.items() if (found := _not_finite(log, name, column))]
    return [*findings, *_not_a_choice(log)] if log.action_space.is_discrete else findings


def _not_a_choice(log: Trajectories) -> Iterator[Finding]:
    """The first dimension with a choice that is none; an action that is one choice has one."""
    space, actions = log.action_space, log.actions.reshape(log.transitions, -1)
    if space.size > MOST_CHOICES:
        yield _error(
            "choices", space.size, f"its action space has {space.size:,} choices; up to {MOST_CHOICES:,} are taken."
        )
        return
    ranges = zip(space.choices, actions.min(0).tolist(), actions.max(0).tolist(), strict=True)
    for d, (n, low, high) in enumerate(ranges):
        if low < 0 or high >= n:
            where = "" if space.n is not None else f" in dimension {d}"
            yield _error("choices", high, f"actions range from {low} to {high} of {n} choices{where}.")
            return


def _not_finite(log: Trajectories, name: str, column: np.ndarray) -> Finding | None:
    if column.dtype.kind != "f":
        return None
    bad, first = 0, -1
    for start, block in blocks(column):
        # A sum is finite only where every number is, and costs one pass; overflow is looked at number by number.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=np.float64)):
                if column.itemsize > 4 and np.abs(block).max(initial=0) > LARGEST_NUMBER:
                    return _too_large(log, name, start, block)
                continue
        rows = ~np.isfinite(block.reshape(len(block), -1)).all(-1)
        if not rows.any():
            return _too_large(log, name, start, block)
        if first < 0:
            first = start + int(rows.argmax())
        bad += int(rows.sum())
    if not bad:
        return None
    where = _where(log, name, first)
    return _error(
        "not-finite", bad, f"'{name}' holds a number that is not finite in {where}; {bad} rows in all.",
        "one such number makes every weight of the network one.", "drop-not-finite",
    )  # fmt: skip


def _too_large(log: Trajectories, name: str, start: int, block: np.ndarray) -> Finding:
    row = int((np.abs(block.reshape(len(block), -1)) > LARGEST_NUMBER).any(-1).argmax())
    return _error(
        "too-large", float(np.abs(block[row]).max()),
        f"'{name}' holds a number beyond {LARGEST_NUMBER:.1e} in {_where(log, name, start + row)}.",
        "a network computes in float32, where it is infinite.",
    )  # fmt: skip


def _where(log: Trajectories, name: str, first: int) -> str:
    episode = first if name == "final_observations" else np.searchsorted(log.episode_starts, first, "right") - 1
    return f"episode {episode}" if name == "final_observations" else f"row {first} (episode {episode})"


def check_structure(log: Trajectories) -> list[Finding]:
    """Bounds, saturation, values that stand for none, episode ends and duplicates."""
    checks = (_actions, _placeholders, _no_rewards, _episode_ends, _duplicates, _versions)
    return [finding for look in checks for finding in look(log)]


def _actions(log: Trajectories) -> Iterator[Finding]:
    if log.convention == "tanh_gaussian":
        largest = max(float(np.abs(block).max()) for _, block in blocks(log.actions))
        if largest > 1:
            bounds = [bound for bound in (log.action_space.low, log.action_space.high) if bound is not None]
            known = len(bounds) == 2 and np.isfinite(bounds).all() and largest <= np.abs(bounds).max()
            yield _error(
                "action-scale", largest, f"actions reach {largest:.4g}; those of a squashed policy end at 1.",
                "the pre-squash action atanh(a) of such a step does not exist.",
                "rescale-actions" if known else "",
                "Actions in the environment's units need its bounds: give them in the log, or divide by them.",
            )  # fmt: skip
        elif log.pre_squash_actions is None:
            share = _share(log, lambda block: np.any(np.abs(block) >= SATURATED, axis=-1))
            if share:
                yield Finding(
                    "saturated-actions", "warning", share,
                    f"{share:.2%} of the steps have an action that tanh rounded to a bound.",
                    "their pre-squash value is lost, so their ratios are approximate.",
                    hint="Record pre-squash actions, as `gipo datasets record` does.",
                )  # fmt: skip
    elif log.convention == "gaussian":
        yield from _clipped(log)


def _clipped(log: Trajectories) -> Iterator[Finding]:
    """Atoms at the least and the largest action: what was stored was clipped, the log-prob is of the sampled one."""
    low = np.min([block.min(0) for _, block in blocks(log.actions)], 0)
    high = np.max([block.max(0) for _, block in blocks(log.actions)], 0)
    share = _share(log, lambda block: ((block == low) | (block == high)).any(-1))
    # One row in a short log is at the largest value by being the largest.
    if share * log.transitions > 2 * log.actions[0].size + 1 and share > MOST_AT_BOUNDS:
        yield _error(
            "clipped-actions", share,
            f"{share:.2%} of the steps have the very same least or largest action, as no Gaussian draws: the clipped "
            "action was stored beside the log-prob of the sampled one.",
            "pi is asked for the density of another action than beta was; the ratio of those steps means nothing.",
            hint="Store the sampled action. SB3's rollout buffer holds it; a wrapper around the environment does not.",
        )  # fmt: skip


def _placeholders(log: Trajectories) -> Iterator[Finding]:
    """Values that stand for none: every policy is allowed a constant if it is uniform, which `log_probs` looks at."""
    values = log.behaviour_log_probs
    if log.log_probs_origin == "none" or log.action_space.is_discrete or is_constant(values):
        return
    found, counts = np.unique(values[: 16 * BLOCK], return_counts=True)
    share, most = counts.max() / counts.sum(), int(counts.argmax())
    around = np.delete(counts[max(0, most - NEIGHBOURS) : most + NEIGHBOURS + 1], min(most, NEIGHBOURS))
    if share > MOST_AT_ONE_VALUE and counts.max() > 2 and counts.max() > STANDS_OUT * around.mean():
        value = float(found[counts.argmax()])
        if abs(value - uniform_log_prob(log)) < 1e-3:
            return  # the steps of an agent that began with random actions
        yield _error(
            "placeholder-log-probs", share, f"{share:.2%} of the log-probs are exactly {value:.4g}.",
            "the ratios of those steps are made up.", hint="Drop those steps, or recompute them with --behaviour.",
        )  # fmt: skip


def is_constant(column: np.ndarray) -> bool:
    """Whether every number of a column is the first one."""
    return all((block == column[0]).all() for _, block in blocks(column))


def _no_rewards(log: Trajectories) -> Iterator[Finding]:
    if not any(block.any() for _, block in blocks(log.rewards)):
        yield Finding(
            "no-rewards", "warning", 0.0, "every reward is 0.", "every advantage is 0: there is nothing to learn."
        )


def _episode_ends(log: Trajectories) -> Iterator[Finding]:
    lengths, last = log.episode_lengths, log.episode_starts[1:] - 1
    terminated = lengths[log.terminated[last]]
    if log.episodes == 1 and log.transitions > 1:
        yield Finding(
            "one-episode", "warning", 1.0, "no row but the last ends an episode.",
            "values are bootstrapped across whatever ends there were, and no episode can be held out.",
            hint="Store where episodes end: terminals and timeouts, or an episode number.",
        )  # fmt: skip
    elif len(terminated) >= ENOUGH_EPISODES and lengths.max() > 1 and not log.truncated.any():
        share = float((terminated == lengths.max()).mean())
        if share >= SAME_LENGTH and len(terminated) == log.episodes:
            yield Finding(
                "limit-as-termination", "warning", share,
                f"{share:.0%} of the episodes terminate at exactly {lengths.max():,} steps, and none is cut.",
                "if that is a time limit, the value of every late state is learned as 0.", "timeouts",
            )  # fmt: skip


def _duplicates(log: Trajectories) -> Iterator[Finding]:
    doubled = duplicate_episodes(log)
    if doubled.any():
        yield Finding(
            "duplicate-episodes", "warning", float(doubled.mean()),
            f"{doubled.sum():,} of {log.episodes:,} episodes repeat an earlier one to the last bit.",
            "held-out episodes were trained on too, so every held-out figure flatters.", "drop-duplicates",
        )  # fmt: skip


def duplicate_episodes(log: Trajectories) -> np.ndarray:
    """Which episodes repeat an earlier one, [E]; of real-valued observations, since small worlds repeat by nature."""
    none = np.zeros(log.episodes, bool)
    if log.observations.dtype.kind != "f" or log.episodes < 2 or log.episode_lengths.max() == 1:
        return none
    if all(np.array_equal(block, np.rint(block)) for _, block in blocks(log.observations)):
        return none
    # An episode is looked at twice only where its length, first observation and rewards occur again.
    starts = log.episode_starts[:-1]
    first = rows_of(log.observations, starts).reshape(log.episodes, -1).astype(np.float64)
    key = np.column_stack([log.episode_lengths, first, log.episode_returns])
    _, same, counts = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    seen: set[bytes] = set()
    for episode in np.flatnonzero(counts[same.ravel()] > 1):
        rows = slice(log.episode_starts[episode], log.episode_starts[episode + 1])
        content = log.observations[rows].tobytes() + np.ascontiguousarray(log.actions[rows]).tobytes()
        none[episode] = content in seen
        seen.add(content)
    return none


def _versions(log: Trajectories) -> Iterator[Finding]:
    versions = log.policy_versions
    if versions is None or log.behaviour_weights is None:
        return
    count = len(np.unique(versions))
    if count > 1:
        yield _error(
            "several-policies", count, f"{count:,} policies took part, and the log carries the weights of one.",
            "training would start at ratio 1 for the steps of that one alone.", "drop-weights",
        )  # fmt: skip


def _error(name: str, value: float, meaning: str, effect: str = "", repair: str = "", hint: str = "") -> Finding:
    return Finding(name, "error", float(value), meaning, effect, repair, hint)


def _share(log: Trajectories, which: Callable[[np.ndarray], np.ndarray]) -> float:
    return sum(int(which(block).sum()) for _, block in blocks(log.actions)) / log.transitions
