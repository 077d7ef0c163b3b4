"""Values and advantages of the policy in training, from the log of another."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from gipo_cli.advantages import Estimate, Task, traces
from gipo_cli.advantages.from_value import from_value
from gipo_cli.advantages.value import Values
from gipo_cli.settings import Fraction, Positive


def estimate(
    task: Task,
    *,
    rho_bar: Positive = 1.0,
    c_bar: Positive = 1.0,
    trace_lambda: Fraction = 0.95,
    smooth: Fraction = 1.0,
) -> Estimate:
    """V-trace: V and A of the current policy, from beta's actions, with importance ratios cut at two heights.

        A = r + gamma (lambda v' + (1 - lambda) V(s')) - V(s)
        v = V(s) + rho (r + gamma V(s') - V(s)) + gamma c (v' - V(s'))
        rho = min(rho_bar, ratio), c = lambda min(c_bar, ratio)

    The ratio is that of `policy` to the recorded log-probs, 1 before its first update: it takes `--set rounds=N` for
    values to follow it. V becomes the value of the policy proportional to
    min(rho_bar beta, pi): of pi itself where rho_bar is above every ratio, of something between beta and pi otherwise.
    c_bar changes how fast it gets there and how noisily, never where to. With pi = beta and both at 1 or above, all is
    GAE(lambda).

    The mistake to avoid: IMPALA's advantage carries another factor min(rho_pg, ratio). An objective of ours brings the
    importance weight itself, so the factor is left out; with it every sample would be weighted twice.

    Centred: A is an advantage over pi's usual action, so its mean under pi is 0 and under beta is not. With smooth = 1
    the mean under beta is taken out exactly in every state (see smoothing), as a trust weight needs it; an importance
    weight of any other shape than the ratio would feel it. With smooth = 0 the mean over the log alone is removed.

    improvement_kl is not looked at: pi is the policy that values look ahead to.

    Source: Espeholt et al. 2018 (arXiv:1802.01561), section 4; lambda as in rlax, vtrace.py.

    Settings:
        rho_bar: cut of the ratio in the one-step error: whose value V is; above 0.
        c_bar: cut of the ratio in the trace: how far back an error is carried; above 0.
        trace_lambda: decay of the trace, 0 to 1; 1 is IMPALA's.
        smooth: share of the smoothed advantages; the rest are raw, 0 to 1.
    """
    log_ratio = _log_ratio(task)

    def traced(which: int) -> Callable[[Values], Tensor]:
        def of(values: Values) -> Tensor:
            def v_trace(rows: slice) -> Tensor:
                return traces.v_trace(
                    task.samples, values.now, values.after, log_ratio, task.discount,
                    rho_bar=rho_bar, c_bar=c_bar, decay=trace_lambda, rows=rows,
                )[which]  # fmt: skip

            return traces.along_episodes(task.samples, v_trace)

        return of

    return from_value(
        task,
        traced(0),
        traced(1),
        smooth=smooth,
        tolerance=None,  # ratios make the error of a round noisy, and V has a way to go from beta's to pi's
        valued=task.policy,
    )


@torch.no_grad()
def _log_ratio(task: Task) -> Tensor:
    """Of the policy that is valued, [N]; no policy yet: it is beta."""
    if task.policy is None:
        return torch.zeros(1, device=task.samples.device).expand(len(task.samples.reward))
    return task.samples.at_every_row(partial(task.samples.log_ratio, task.policy))
