"""Values and advantages: computed before the first update, and anew as the policy moves away from where they held."""

from collections.abc import Callable

from torch import Tensor

from gipo_cli.advantages import Estimate, Progress, Task
from gipo_cli.config import TrainConfig
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.versions import Behaviour
from gipo_cli.training.columns import chunks, joined, mean_and_std
from gipo_cli.training.distributed import ALONE, Ranks
from gipo_cli.training.samples import Samples
from gipo_cli.training.signals import Stop
from gipo_cli.training.state import Training, is_checkpoint

Estimator = Callable[..., Estimate]


def value(
    config: TrainConfig,
    estimator: Estimator,
    samples: Samples,
    beta: Behaviour,
    policy: Policy | None,
    progress: Progress,
) -> tuple[Tensor, dict[str, float | None]]:
    """Advantages in standard deviations, [N], and how far they hold; of `policy`, or of beta's improvement if none."""
    task = Task(
        samples, beta, policy, discount=config.discount, improvement_kl=config.improvement_kl,
        updates=config.critic_steps, seed=config.seed, progress=progress,
    )  # fmt: skip
    estimate = estimator(task, **config.advantage_settings)
    _, std = mean_and_std(estimate.advantage, samples.held_in_rows)
    scaled = (chunk / std.clamp_min(1e-12) for chunk in chunks(estimate.advantage))
    return joined(len(estimate.advantage), scaled), {
        "explained": estimate.explained,
        "explained_lower": estimate.explained_lower,
        "explained_held_in": estimate.explained_held_in,
    }


def round_is_due(config: TrainConfig, now: Training) -> bool:
    """Whether values are to be computed anew: at a step of which there is a checkpoint, once for each round."""
    return is_checkpoint(config, now.step) and now.step * config.rounds // config.steps > now.round


def revalue(
    config: TrainConfig,
    estimator: Estimator,
    samples: Samples,
    now: Training,
    progress: Progress,
    ranks: Ranks = ALONE,
    stop: Stop | None = None,
) -> None:
    """Values and advantages of the policy as it is now: those of an older one mislead more the further it has moved.

    The first rank computes them and tells the others.
    """
    now.round = now.step * config.rounds // config.steps
    if ranks.first:
        assert now.beta is not None
        now.advantage, now.facts["critic"] = value(config, estimator, samples, now.beta, now.policy, progress)
    ranks.from_first(f"round {now.round}", stop=stop)  # waits for as long as that takes
    ranks.tell(now.advantage)
