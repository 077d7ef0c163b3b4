"""The fitted Q, corrected by self-normalised weighted errors."""

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, rests_on, weighted_steps


@rests_on("products")
def estimate(evidence: Evidence) -> Statistic:
    """Doubly robust with weights that sum to 1 over the episodes at every step.

        J = sum_t gamma^t sum_i (w_it (r_it - Q(s_it, a_it)) + w_i,t-1 V(s_it)),   w_it = W_it / sum_i W_it

    Biased, consistent, and of less variance than doubly robust.

    Source: Thomas and Brunskill 2016, https://arxiv.org/abs/1604.00923
    """
    terms = weighted_steps(evidence)

    def of_counts(counts: Array) -> Array:
        gained, carried = terms(counts)
        return (gained + carried).sum(-1)

    return Statistic(of_counts)
