"""How often do the intervals of `gipo evaluate --offline` hold the truth, and how often is its verdict wrong?

    python examples/studies/offline_evaluation.py runs/offline > examples/studies/offline-evaluation.md

Hopper and CartPole: ten policies each and five logs that trained none of them, so 100 pairs; and ten policies that were
trained on the logs of CartPole and are judged by their held-out episodes. The ten: trained on the catalog's log towards
several distances from the behaviour policy, trained on the same log with its rewards negated, and the behaviour policy
with noise on its last layer. Truth is the mean discounted return of many rollouts of which no time limit cuts more than
a ten-thousandth. Pairs that are there are left alone. Half a minute a pair on one core, and half an hour before.
"""

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from launching import gipo
from scipy.stats import spearmanr

from gipo_cli.data import catalog
from gipo_cli.data.writers.npz import write
from gipo_cli.evaluation.offline import Question, crossed_folds, judge, own_folds
from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.logs import open_log
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.weights import load_policy, policy_from_weights, save_policy
from gipo_cli.registry import ESTIMATORS
from gipo_cli.training import checkpoints
from gipo_cli.training.samples import to_samples

LOGS = range(5)
KL_TARGETS = (0.02, 0.05, 0.1, 0.5)
NEGATED = (0.02, 0.1, 0.5)
NOISE = (0.1, 0.2, 0.4)  # of the last layer, in standard deviations of its weights
HELD_OUT = 0.3


@dataclass(frozen=True)
class Setting:
    """An environment, the log whose policy acts in it, and how long is long enough."""

    environment: str
    catalog: str
    steps: int  # of each log
    discount: float
    limit: int  # steps of a rollout
    own: tuple[float, ...] = ()  # distances of the policies that are trained on the logs themselves


SETTINGS = {
    "cartpole": Setting("CartPole-v1", "cartpole-medium", 20_000, 0.99, 1000, (0.05, 0.5)),
    "hopper": Setting("Hopper-v5", "hopper-medium", 40_000, 0.997, 3000),
}


def once(path: Path, make: Any) -> Any:
    """What a JSON file holds; made first where it is not there."""
    if not path.exists():
        path.write_text(json.dumps(make(), indent=1))
        print(path, file=sys.stderr, flush=True)
    return json.loads(path.read_text())


def policies(place: Path, setting: Setting) -> dict[str, Path]:
    """The ten policies and the behaviour policy, as files."""
    log = catalog.load(setting.catalog)
    assert log.behaviour_weights is not None
    behaviour = policy_from_weights(log.behaviour_weights, log.name)
    found = {"behaviour": place / "behaviour.safetensors"}
    save_policy(behaviour, found["behaviour"])
    negated = place / "negated.npz"
    if not negated.exists():
        write(replace(log, rewards=-log.rewards), negated)
    for name, dataset, target in (
        *((f"kl-{target}", setting.catalog, target) for target in KL_TARGETS),
        *((f"negated-{target}", str(negated), target) for target in NEGATED),
    ):
        found[name] = trained(place / name, dataset, target)
    for seed, scale in enumerate(NOISE):
        found[f"noise-{scale}"] = place / f"noise-{scale}.safetensors"
        save_policy(noisy(behaviour, scale, seed), found[f"noise-{scale}"])
    return found


def trained(out: Path, dataset: str, kl_target: float, *more: str) -> Path:
    """The policy of a run, made where it is not there; nothing is certified away."""
    if not (out / "policy.safetensors").exists():
        settings = ("--set", "certify=false", "--set", f"kl_target={kl_target}", *more)
        begun = (
            ("--resume", str(out))
            if (out / "run.json").exists()
            else ("--dataset", dataset, *settings, "--out", str(out))
        )
        gipo("train", *begun, "--quiet")
        checkpoint = checkpoints.load_latest(out)
        assert checkpoint is not None
        save_policy(checkpoints.policy_of(checkpoint), out / "policy.safetensors")
    return out / "policy.safetensors"


def noisy(policy: Policy, scale: float, seed: int) -> Policy:
    """A copy with noise on the weights of its last layer."""
    other = Policy(policy.spec)
    other.load_state_dict(policy.state_dict())
    weight = other.last_fc.weight.data
    weight += scale * weight.std() * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return other


def truth(policy: Path, setting: Setting, episodes: int) -> dict[str, float]:
    """Mean discounted return of rollouts, and its standard error."""
    made = [gymnasium.make(setting.environment, max_episode_steps=setting.limit) for _ in range(100)]
    found = rollout(
        load_policy(policy)[0], made, episodes, seed=1, stochastic=True, discount=setting.discount
    )  # fmt: skip
    return {"mean": found.mean, "standard_error": found.standard_error or 0.0}


def judged(policy: Path, log: Path, setting: Setting, updates: int, *, own: bool) -> dict[str, Any]:
    """What `gipo evaluate --offline` finds."""
    opened = open_log(str(log)).log
    samples = to_samples(opened, HELD_OUT, 0, torch.device("cpu"))
    folds = own_folds(samples) if own else crossed_folds(samples)
    question = Question(load_policy(policy)[0], samples, opened.action_space, folds, setting.discount)
    return judge(question, lambda name, total: nullcontext(lambda n=1, **figures: None), updates=updates)


def study(place: Path, name: str, updates: int) -> list[dict[str, Any]]:
    """All pairs of one environment, with their truths."""
    setting, place = SETTINGS[name], place / name
    place.mkdir(parents=True, exist_ok=True)
    files = policies(place, setting)
    logs = [place / f"log-{seed}.npz" for seed in LOGS]
    for seed, log in enumerate(logs):
        if not log.exists():
            how = ("--environment", setting.environment, "--steps", str(setting.steps), "--environments", "10")
            gipo(
                "datasets",
                "record",
                *how,
                "--policy",
                str(files["behaviour"]),
                "--seed",
                str(seed),
                "--out",
                str(log),
                "--quiet",
            )
    worth = {
        p: once(place / f"truth-{p}.json", lambda f=f, p=p: truth(f, setting, 1000 if p == "behaviour" else 400))
        for p, f in files.items()
    }
    pairs = []
    for seed, log in enumerate(logs):
        for policy, file in files.items():
            if policy != "behaviour":
                found = once(
                    place / f"pair-{policy}-{seed}.json",
                    lambda f=file, log=log: judged(f, log, setting, updates, own=False),
                )
                pairs.append({"kind": "another log", "truth": worth[policy], "behaviour": worth["behaviour"], **found})
    for seed, log in enumerate(logs):
        for target in setting.own:
            run = f"own-{target}-{seed}"
            file = trained(place / run, str(log), target, "--set", f"held_out_fraction={HELD_OUT}")
            value = once(place / f"truth-{run}.json", lambda f=file: truth(f, setting, 400))
            found = once(place / f"pair-{run}.json", lambda f=file, log=log: judged(f, log, setting, updates, own=True))
            pairs.append({"kind": "its own log", "truth": value, "behaviour": worth["behaviour"], **found})
    return [{"environment": name, **pair} for pair in pairs]


def truths(place: Path, name: str) -> list[str]:
    """A line of Markdown for each policy: what its rollouts earn, and the behaviour policy's."""
    found = {p.stem.removeprefix("truth-"): json.loads(p.read_text()) for p in (place / name).glob("truth-*.json")}
    return [f"| {name}, {p} | {t['mean']:.1f} ± {t['standard_error']:.1f} |" for p, t in sorted(found.items())]


def rows(pairs: list[dict[str, Any]]) -> list[str]:
    """A line of Markdown for each estimator, and for what the two judges say together."""
    by_name = {name: [pair["estimators"][name]["gain"] for pair in pairs] for name in ESTIMATORS.places}
    by_name["drl and fqe together"] = [pair["gain"] for pair in pairs]
    true = np.array([pair["truth"]["mean"] - pair["behaviour"]["mean"] for pair in pairs])
    return [f"| {name} | {_cells(gains, true)} |" for name, gains in by_name.items()]


def _cells(gains: list[dict[str, float | None]], true: np.ndarray) -> str:
    known = np.array([gain["lower"] is not None for gain in gains])
    counted = f"{known.sum()} of {len(gains)}"
    if known.sum() < 3:
        return f"{counted} | – | – | – | – | –"
    lower, mean, upper = (
        np.array([gain[key] for gain in gains])[known].astype(float) for key in ("lower", "mean", "upper")
    )
    true = true[known]
    held = ((lower <= true) & (true <= upper)).mean()
    wrong = ((lower > 0) & (true < 0) | (upper < 0) & (true > 0)).sum()
    error = np.sqrt(np.square(mean - true).mean())
    rank = spearmanr(mean, true)[0]
    return f"{counted} | {held:.0%} | {wrong} | {np.median(upper - lower):.3g} | {error:.3g} | {rank:.2f}"


def verdicts(pairs: list[dict[str, Any]]) -> list[str]:
    """What was said against what was true, within two standard errors of the truth."""
    lines = []
    for word in ("better", "not better", "cannot be known"):
        said = [pair for pair in pairs if pair["verdict"] == word]
        true = [pair["truth"]["mean"] - pair["behaviour"]["mean"] for pair in said]
        lines.append(f"| {word} | {len(said)} | {sum(t > 0 for t in true)} | {sum(t <= 0 for t in true)} |")
    return lines


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--only", choices=SETTINGS, help="make the pairs of one environment and print nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only:
        study(given.place, given.only, given.updates)
        return
    pairs = [pair for name in SETTINGS for pair in study(given.place, name, given.updates)]
    print("# How far the offline verdict can be believed\n")
    print("`python examples/studies/offline_evaluation.py runs/offline`: its first lines say what the pairs are. Gains")
    print("over the behaviour policy, discounted; 95 % intervals. Of each network there are")
    print(f"{given.updates:,} updates, where the command makes 4,000.\n")
    for name, kind in sorted({(pair["environment"], pair["kind"]) for pair in pairs}):
        some = [pair for pair in pairs if (pair["environment"], pair["kind"]) == (name, kind)]
        print(f"## {name}, {kind}: {len(some)} pairs\n")
        print("| estimator | answers | holds the gain | on the wrong side of 0 | median width | error (rms) | rank |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print("\n".join(rows(some)) + "\n")
    print("## Verdicts\n\n| said | pairs | of them truly better | truly not better |\n| --- | --- | --- | --- |")
    print("\n".join(verdicts(pairs)))
    print("\n## What the policies earn in rollouts\n\n| policy | discounted return, standard error |\n| --- | --- |")
    print("\n".join(line for name in SETTINGS for line in truths(given.place, name)))


if __name__ == "__main__":
    main()
