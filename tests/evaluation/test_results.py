"""What a comparison may and may not take from a run's record."""

import pytest

from gipo_cli.errors import RunError
from gipo_cli.evaluation.results import read_result
from gipo_cli.runs import RunDirectory, find_runs


@pytest.fixture
def run(tmp_path):
    made = RunDirectory.create(tmp_path / "run")
    made.write_config({"dataset": "log", "objective": "gipo", "settings": {"sigma": 1.0}})
    dataset = {"name": "log", "fingerprint": "sha256:ab", "transitions": 9, "episodes": 3, "mean_return": 1.5}
    made.update(status="finished", seed=4, steps=100, seconds=5.0, dataset=dataset, command=["gipo", "train"])
    return made


def test_the_rate_is_of_updates_over_all_seconds(run):
    found = read_result(run)
    assert (found.seconds, found.updates_per_second, found.step) == (5.0, 20.0, 100)
    assert (found.evaluation, found.mean, found.kl, found.kept) == (None, None, None, None)


@pytest.mark.parametrize("flag", [["--resume", "run"], ["--reuse", "run"], ["--reuse=run"]])
def test_a_run_whose_clock_began_late_has_no_rate(run, flag):
    run.update(command=["gipo", "train", *flag])
    found = read_result(run)
    assert (found.seconds, found.updates_per_second) == (None, None)


def test_estimated_log_probs_differ_from_seed_to_seed_and_the_log_does_not(run):
    recorded = read_result(run).log_key
    keys = []
    for fingerprint in ("sha256:cd", "sha256:ef"):
        run.update(dataset={**run.record()["dataset"], "log_probs": "estimated", "fingerprint": fingerprint})
        keys.append(read_result(run).log_key)
    assert keys[0] == keys[1] != recorded


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dataset": None}, "run.json is damaged: it names no dataset."),
        ({"seed": None}, "run.json is damaged: it has no seed."),
        ({"status": 3}, "run.json is damaged: status is 3; expected text."),
        ({"seconds": "long"}, "run.json is damaged: seconds is 'long'; expected a finite number."),
        ({"steps": 10**400}, "run.json is damaged: steps is "),
    ],
)
def test_a_damaged_record_is_named(run, fields, said):
    run.update(**fields)
    with pytest.raises(RunError) as error:
        read_result(run)
    assert said in error.value.message


def test_runs_of_a_directory_come_in_the_order_of_their_numbers(run):
    place = run.path.parent
    for name in ("seed-10", "seed-2", "no-run"):
        (place / name).mkdir()
    for name in ("seed-10", "seed-2"):
        RunDirectory(place / name).update(status="finished")
    assert [path.name for path in find_runs(str(place))] == ["run", "seed-2", "seed-10"]
    assert [path.name for path in find_runs(str(place / "seed-*"))] == ["seed-2", "seed-10"]
