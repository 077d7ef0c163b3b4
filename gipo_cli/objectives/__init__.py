"""One file per loss, and the contract they keep.

    f(log_ratio [N], advantage [N], *, setting: float = default) -> loss [N]

`log_ratio` is log pi(a|s) - log beta(a|s) and carries the gradient; the advantage does not. The loss of a sample is
|A| times a function of its own log ratio and the sign of A: samples are treated alone, no batch statistics, the loop
takes the mean. The few that keep only part of this are marked (traits.py). The keyword-only arguments are the
objective's settings: `gipo train --set name=value`.
"""
