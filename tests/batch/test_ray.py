"""The Ray executor on a cluster of this machine: same bytes, dead workers, stops."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from gipo_cli.locking import holder

pytest.importorskip("ray", reason="needs gipo[ray]")

RAY = '[ray]\naddress = "local"\n'


def parent_of(process):
    return int(re.search(r"^PPid:\s*(\d+)$", Path(f"/proc/{process}/status").read_text(), re.M)[1])


def test_a_dead_worker_is_tried_again_and_a_stop_saves_and_it_ends_in_the_same_bytes(
    start, jobs_file, tmp_path, content, undisturbed, trains, until
):
    file, out = jobs_file(RAY), tmp_path / "out"
    given = (file, "--out", out, "--executor", "ray", "--retries", "1")
    with start(*given) as process:
        trains(out / "a")
        training = int(re.match(r"process (\d+) on ", holder(out / "a/run.lock"))[1])
        worker = parent_of(training)
        os.kill(worker, signal.SIGSTOP)  # so that it does not say first that training was killed
        os.kill(training, signal.SIGKILL)
        until(lambda: holder(out / "a/run.lock") is None)
        os.kill(worker, signal.SIGKILL)
        trains(out / "a", (out / "a/latest").read_text())
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "[0/1] a interrupted  : Ray: The worker died unexpectedly while executing this task." in said
    assert said.endswith(f"      Go on with: gipo batch {file} --out {out} --executor ray\n")
    assert json.loads((out / "a/run.json").read_text())["status"] == "interrupted"
    assert json.loads((out / "batch.json").read_text())["jobs"]["a"] == {"attempts": 2, "exit_code": None, "error": ""}

    with start(*given) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    found = content(out / "a")
    assert {key: found[key] for key in undisturbed} == undisturbed  # stops leave a checkpoint more


def test_an_address_without_a_cluster_is_named(gipo, jobs_file, tmp_path):
    file = jobs_file('[ray]\naddress = "127.0.0.1:1"\n')
    outcome = gipo("batch", file, "--out", tmp_path / "out", "--executor", "ray")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        "gipo: no Ray cluster can be had at 127.0.0.1:1 ([Errno 111] Connection refused).\n"
        "      Start one with `ray start --head`, or leave `address` out of [ray] for one on this machine.\n"
    )
    assert not (tmp_path / "out/jobs.json").exists()
