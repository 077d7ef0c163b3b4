"""Fitted Q evaluation alone: the direct method."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, mean_of, rests_on


@rests_on("values")
def estimate(evidence: Evidence) -> Statistic:
    """V of the starts, by Q fitted to other episodes.

        J = 1/E sum_i V(s_0),   V(s) = E_{a ~ pi} Q(s, a),   Q(s, a) = E[r + gamma V(s')]

    No ratio weighs an episode; ratios only say how far the fit traces errors back. Its interval is of the starts that
    it is averaged over and of the disagreement between the members of the ensemble; what all members get wrong alike it
    does not see, so it is too narrow.

    Source: Le, Voloshin and Yue 2019, https://arxiv.org/abs/1903.08738; solved as in `temporal_differences`
    """
    return mean_of(evidence.by_episode(lambda part: part.value[part.starts]))
