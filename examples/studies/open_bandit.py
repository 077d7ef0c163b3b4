"""The estimators of `gipo evaluate --offline` against the Open Bandit Pipeline's own, on the data that it brings along.

In an environment of its own, since obp wants older packages:

    python3 -m venv .venv-obp && .venv-obp/bin/pip install --no-deps obp==0.4.1
    .venv-obp/bin/pip install 'numpy<2' scipy scikit-learn 'pandas<2' tqdm pyyaml matplotlib seaborn torch==2.13.0
    PYTHONPATH=. .venv-obp/bin/python examples/studies/open_bandit.py > examples/studies/open-bandit.md

A bandit is an episode of one step, so trajectory and per-decision estimates are the same there: inverse propensity
weighting is `is` and `pdis`, its self-normalised form `wis` and `wpdis`, the direct method `fqe`, doubly robust `dr`,
self-normalised doubly robust `wdr`. Both are given one Q: the mean reward of each action at each position, rounded to
a fiftieth, so that doubly robust has something to correct.
"""

import logging

import numpy as np
from obp.dataset import OpenBanditDataset
from obp.ope import (
    DirectMethod,
    DoublyRobust,
    InverseProbabilityWeighting,
    SelfNormalizedDoublyRobust,
    SelfNormalizedInverseProbabilityWeighting,
)
from obp.policy import BernoulliTS

from gipo_cli.evaluation.estimators import Evidence
from gipo_cli.registry import ESTIMATORS

PAIRS = {
    "is": InverseProbabilityWeighting, "pdis": InverseProbabilityWeighting,
    "wis": SelfNormalizedInverseProbabilityWeighting, "wpdis": SelfNormalizedInverseProbabilityWeighting,
    "fqe": DirectMethod, "dr": DoublyRobust, "wdr": SelfNormalizedDoublyRobust,
}  # fmt: skip


def main() -> None:
    """Print both estimates of every estimator, for Thompson sampling judged by the log of random choices."""
    logging.disable()
    dataset = OpenBanditDataset(behavior_policy="random", campaign="all")
    log = dataset.obtain_batch_bandit_feedback()
    rows, action, place = np.arange(log["n_rounds"]), log["action"], log["position"]
    sampling = BernoulliTS(
        n_actions=dataset.n_actions, len_list=dataset.len_list, random_state=0, is_zozotown_prior=True, campaign="all"
    )
    chance = sampling.compute_batch_action_dist(n_rounds=len(rows), n_sim=10_000)
    quality = np.zeros((dataset.n_actions, dataset.len_list))
    for a, p in np.ndindex(quality.shape):
        there = log["reward"][(action == a) & (place == p)]
        quality[a, p] = round(50 * there.mean()) / 50 if len(there) else log["reward"].mean()
    estimated = np.tile(quality, (len(rows), 1, 1))
    nothing = np.zeros(len(rows))
    taken = chance[rows, action, place]
    log_ratio = np.log(np.maximum(taken, 1e-300)) - np.log(log["pscore"])  # drawn never in 10,000: a chance of 0
    usual = (chance[rows, :, place] * quality.T[place]).sum(-1)
    evidence = Evidence(
        discount=1.0, episode=rows, reward=log["reward"].astype(float), log_ratio=log_ratio,
        quality=quality[action, place], value=usual, value_after=nothing, state_value=usual, state_value_after=nothing,
        marginal_weight=taken / log["pscore"], behaviour_value_after=nothing,
    )  # fmt: skip
    print("# The Open Bandit Pipeline's estimators and ours\n")
    print(
        f"{len(rows):,} rounds of its bundled log of random choices, judging Thompson sampling: as the first lines of"
    )
    print("`examples/studies/open_bandit.py` say.\n")
    print("| ours | theirs | our value | their value | difference |\n| --- | --- | --- | --- | --- |")
    for name, theirs in PAIRS.items():
        value = ESTIMATORS.load(name)(evidence).of_counts(np.ones((1, len(rows))))[0]
        other = theirs().estimate_policy_value(
            reward=log["reward"], action=action, position=place, pscore=log["pscore"], action_dist=chance,
            estimated_rewards_by_reg_model=estimated,
        )  # fmt: skip
        print(f"| {name} | {theirs.__name__} | {value:.9f} | {other:.9f} | {abs(value - other):.1e} |")


if __name__ == "__main__":
    main()
