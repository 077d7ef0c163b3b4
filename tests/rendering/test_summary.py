"""The lines under a summary are commands to copy: a name from a log is one only where it is a name."""

import pytest

from gipo_cli.rendering.summary import print_summary

SUMMARY = {
    "run": "runs/a b", "objective": "gipo", "settings": {}, "advantage": "gae", "advantage_settings": {}, "steps": 1,
    "seconds": 1.0, "ended_early": False, "critic": {"explained": 0.5},
    "warm_start": {"kind": "cloning", "kl": 0.1, "version": None},
    "held_out": {"ess_fraction": 0.5, "kl": 0.1, "surrogate": 0.1},
    "certificate": {"certified": False, "kept": "starting policy", "reason": "none", "kept_step": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ("Hopper-v5", ["Worth it?     gipo evaluate 'runs/a b'   (Hopper-v5)"]),
        (
            "lab:Own/Env-v0",
            ["Worth it?     if the module lab is yours:",
             "              gipo evaluate 'runs/a b' --environment lab:Own/Env-v0"],
        ),
        ("x:y; touch /tmp/owned #", []),
        ("$(touch /tmp/owned)", []),
        (None, []),
    ],
)  # fmt: skip
def test_what_comes_next_is_safe_to_copy(capsys, environment, lines):
    dataset = {"name": "log", "transitions": 1, "episodes": 1, "mean_return": 0.0, "log_probs": "recorded"}
    print_summary({**SUMMARY, "dataset": {**dataset, "environment": environment}})
    printed = capsys.readouterr().out.rstrip("\n").split("\n")
    at = next(n for n, line in enumerate(printed) if line.startswith("Believe it?"))
    first = [
        "Believe it?   gipo inspect-weights 'runs/a b'",
        "Better?       gipo evaluate 'runs/a b' --offline   (by the log alone)",
    ]
    assert printed[at:] == [*first, *lines]


@pytest.mark.parametrize(("kind", "certified", "said"), [
    ("checkpoint", True, True), ("checkpoint", False, False), ("behaviour weights", True, False),
])  # fmt: skip
def test_a_verdict_on_a_policy_given_as_the_start_says_what_it_is_against(capsys, kind, certified, said):
    certificate = {
        "certified": certified, "kept": "trained policy", "kept_step": 1, "explained_lower": 0.5, "reason": "none",
        "surrogate_lower": 0.1, "last": {"certified": certified},
    }  # fmt: skip
    dataset = {"name": "log", "transitions": 1, "episodes": 1, "mean_return": 0.0, "log_probs": "recorded"}
    start = {"kind": kind, "kl": 4.0, "version": None}
    rest = {"certificate": certificate, "warm_start": start, "dataset": {**dataset, "environment": None}}
    print_summary({**SUMMARY, **rest})
    assert ("whether better than the start that --init gave" in capsys.readouterr().out) is said
