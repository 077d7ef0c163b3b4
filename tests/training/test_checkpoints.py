import errno
import json
import os
import subprocess
import sys
from hashlib import sha256

import pytest
import torch

from gipo_cli.errors import RunError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training import checkpoints

SPEC = PolicySpec(distribution="gaussian", observation_size=3, action_size=2, hidden_sizes=(8,))


def content(number):
    """Tensors and state that say which checkpoint they are of."""
    tensors = {
        "policy": {"weight": torch.full((3, 2), float(number)), "bias": torch.arange(2.0) + number},
        "optimizer": {"0.step": torch.tensor(float(number)), "0.exp_avg": torch.full((3, 2), 0.1 * number)},
        "training": {"mask": torch.tensor([True, False]), "rows": torch.arange(4) * number},
    }
    return tensors, {"facts": {"number": number, "share": 0.1}}


def write(run, number):
    return checkpoints.save(run, number, *content(number))


def assert_holds(checkpoint, number):
    tensors, state = content(number)
    assert checkpoint.step == number
    assert checkpoint.state == {"step": number, **state}
    assert {group: set(members) for group, members in checkpoint.tensors.items()} == {
        group: set(members) for group, members in tensors.items()
    }
    for group, members in tensors.items():
        for name, tensor in members.items():
            found = checkpoint.tensors[group][name]
            assert found.dtype == tensor.dtype and torch.equal(found, tensor)


def seal(path):
    content = path.read_bytes()
    return {"sha256": sha256(content).hexdigest(), "size": len(content)}


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_was_saved_comes_back(tmp_path):
    path = write(tmp_path, 300)
    assert path == tmp_path / "checkpoints" / "step-00000300"
    assert_holds(checkpoints.load(path), 300)
    assert_holds(checkpoints.load_latest(tmp_path), 300)
    assert checkpoints.load_latest(tmp_path).warnings == []
    assert (tmp_path / "latest").read_text() == "step-00000300\n"
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert sorted(manifest) == ["optimizer.safetensors", "policy.safetensors", "state.json", "training.safetensors"]
    assert all(entry["size"] == (path / name).stat().st_size for name, entry in manifest.items())


def test_newest_of_several_is_loaded(tmp_path):
    for number in (500, 1000, 999):
        write(tmp_path, number)
    assert_holds(checkpoints.load_latest(tmp_path), 1000)


def test_same_content_gives_the_same_bytes(tmp_path):
    assert files_of(write(tmp_path / "a", 7)) == files_of(write(tmp_path / "b", 7))


def test_a_step_that_is_there_and_whole_is_left_alone(tmp_path):
    path = write(tmp_path, 1)
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    (tmp_path / "latest").unlink()
    assert checkpoints.save(tmp_path, 1, *content(2)) == path
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
    assert (tmp_path / "latest").read_text() == "step-00000001\n"


def test_no_checkpoint_is_none_and_not_an_error(tmp_path):
    assert checkpoints.load_latest(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoints.load_latest(tmp_path) is None


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(RunError) as raised:
        checkpoints.load(tmp_path / "step-00000001")
    assert raised.value.message == f"there is no checkpoint {tmp_path / 'step-00000001'}."
    assert raised.value.exit_code == 3


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)


def empty(path):
    path.write_bytes(b"")


def remove(path):
    path.unlink()


FILES = ["policy.safetensors", "optimizer.safetensors", "training.safetensors", "state.json", "MANIFEST.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, flip, empty, remove])
def test_damage_is_refused_and_the_one_before_is_used(tmp_path, damage, name):
    old, new = write(tmp_path, 1), write(tmp_path, 2)
    damage(new / name)
    if name == "MANIFEST.json" and damage is truncate:
        (new / name).write_bytes((new / name).read_bytes()[:-2])  # the last byte alone is a newline: JSON without it
    if name == "MANIFEST.json" and damage is flip:
        (new / name).write_bytes((new / name).read_bytes().replace(b'"sha256": "', b'"sha256": "0'))
    with pytest.raises(RunError) as raised:
        checkpoints.load(new)
    assert raised.value.message == f"the checkpoint {new} is damaged: a file differs from its MANIFEST.json."
    assert raised.value.hint == "Use an older one in the same directory."
    remaining = files_of(new)
    found = checkpoints.load_latest(tmp_path)
    assert_holds(found, 1)
    assert found.path == old
    assert found.warnings == [f"{new} is damaged; falling back to an older checkpoint."]
    assert files_of(new) == remaining  # nothing is deleted on the way


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"state.json": null}', '{"state.json": {}}', "{}", "{", "\udcff"])
def test_a_manifest_of_another_shape_is_damage(tmp_path, text):
    path = write(tmp_path, 1)
    (path / "MANIFEST.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match="is damaged"):
        checkpoints.load(path)


@pytest.mark.parametrize("state", ["[]", "{}", '{"step": "many"}', '{"step": null}'])
def test_a_sealed_state_that_makes_no_sense_is_a_run_error(tmp_path, state):
    path = write(tmp_path, 1)
    (path / "state.json").write_text(state)
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["state.json"] = seal(path / "state.json")
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="cannot be read"):
        checkpoints.load(path)


def test_a_manifest_does_not_reach_out_of_its_directory(tmp_path):
    path = write(tmp_path, 1)
    secret = tmp_path / "checkpoints" / "secret.safetensors"
    secret.write_bytes((path / "policy.safetensors").read_bytes())
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["../secret.safetensors"] = seal(secret)
    (path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert not checkpoints.is_whole(path)


def test_unfinished_and_unknown_files_are_ignored_and_kept(tmp_path):
    write(tmp_path, 1)
    unfinished = tmp_path / "checkpoints" / ".tmp-2-12345"
    unfinished.mkdir()
    (unfinished / "policy.safetensors").write_bytes(b"half")
    for place in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "step-00000001"):
        (place / "notes.txt").write_text("mine")
    write(tmp_path, 2)
    found = checkpoints.load_latest(tmp_path)
    assert_holds(found, 2)
    assert found.warnings == []
    assert_holds(checkpoints.load(tmp_path / "checkpoints" / "step-00000001"), 1)
    assert (unfinished / "policy.safetensors").read_bytes() == b"half"
    for place in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "step-00000001"):
        assert (place / "notes.txt").read_text() == "mine"


def test_a_damaged_step_is_written_anew_and_its_bytes_are_kept(tmp_path):
    path = write(tmp_path, 1)
    (path / "policy.safetensors").write_bytes(b"damaged")
    write(tmp_path, 1)
    assert_holds(checkpoints.load(path), 1)
    (kept,) = (tmp_path / "checkpoints").glob(".damaged-step-00000001-*")
    assert (kept / "policy.safetensors").read_bytes() == b"damaged"


def test_a_step_damaged_twice_is_written_anew_twice(tmp_path):
    for damage in (b"once", b"twice"):
        (write(tmp_path, 1) / "policy.safetensors").write_bytes(damage)
    assert_holds(checkpoints.load(write(tmp_path, 1)), 1)
    kept = (tmp_path / "checkpoints").glob(".damaged-step-00000001-*/policy.safetensors")
    assert sorted(file.read_bytes() for file in kept) == [b"once", b"twice"]


CRASHES = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gipo_cli.training import checkpoints

def content(number):
    tensors = {"policy": {"w": torch.full((4,), float(number))}, "training": {"a": torch.arange(3) * number}}
    return tensors, {"n": number}

def number_of(run):
    found = checkpoints.load_latest(run)
    tensors, state = content(found.step)
    assert found.state == {"step": found.step, **state}, found.state
    for group, members in tensors.items():
        for name, tensor in members.items():
            assert torch.equal(found.tensors[group][name], tensor), (group, name)
    assert not found.warnings, found.warnings
    return found.step

def die_at(n, when):
    calls = 0
    def wrap(function):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == n and when == "before":
                os._exit(9)
            result = function(*arguments)
            if calls == n:
                os._exit(9)
            return result
        return call
    for name in ("fsync", "rename", "replace"):
        setattr(os, name, wrap(getattr(os, name)))

place, when = Path(sys.argv[1]), sys.argv[2]
n, code = 0, 9
while code == 9:
    n += 1
    run = place / str(n)
    checkpoints.save(run, 1, *content(1))
    child = os.fork()
    if child == 0:
        die_at(n, when)
        checkpoints.save(run, 2, *content(2))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    found = number_of(run)
    checkpoints.save(run, 2, *content(2))  # what the resumed run does
    assert number_of(run) == 2 and (run / "latest").read_text() == "step-00000002\\n"
    print(found)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_sync_or_rename_leaves_the_old_checkpoint_or_the_new_one(tmp_path, when):
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path), when], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [int(line) for line in done.stdout.split()]
    # Files, manifest and directory are synced and renamed one after another: many places to be killed at.
    assert len(found) > 8
    # Once the new one is visible it stays so: it is never taken back.
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2


def test_a_full_disk_at_any_sync_or_rename_leaves_the_old_checkpoint_or_the_new_one(tmp_path, monkeypatch):
    calls, failing = 0, 0

    def wrap(function):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments)

        return call

    for name in ("fsync", "rename", "replace"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    found = []
    for n in range(1, 100):
        run = tmp_path / str(n)
        failing = 0
        write(run, 1)
        calls, failing = 0, n
        try:
            write(run, 2)
            failed = False
        except OSError as error:
            assert error.errno == errno.ENOSPC
            failed = True
        failing = 0
        newest = checkpoints.load_latest(run)
        assert_holds(newest, newest.step)
        assert newest.warnings == []
        found.append(newest.step)
        write(run, 2)  # there is room again
        assert_holds(checkpoints.load_latest(run), 2)
        assert not list((run / "checkpoints").glob(".tmp-*"))
        if not failed:
            break
    assert len(found) > 8
    assert found == sorted(found) and found[0] == 1 and found[-1] == 2


def test_fused_adam_goes_on_byte_for_byte(tmp_path):
    def start():
        torch.manual_seed(0)
        policy = Policy(SPEC)
        return policy, torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True)

    def update(policy, optimizer, step):
        generator = torch.Generator().manual_seed(step)
        observation, action = torch.randn(16, 3, generator=generator), torch.randn(16, 2, generator=generator)
        optimizer.zero_grad()
        (-policy.log_prob(observation, action).mean()).backward()
        optimizer.step()

    policy, optimizer = start()
    for step in range(5):
        update(policy, optimizer, step)
    tensors, groups = checkpoints.optimizer_to_tensors(optimizer)
    weights = {name: value.detach() for name, value in policy.state_dict().items()}
    path = checkpoints.save(
        tmp_path, 5, {"policy": weights, "optimizer": tensors}, {"policy_spec": SPEC.to_dict(), "groups": groups}
    )
    loaded = checkpoints.load(path)
    resumed = checkpoints.policy_of(loaded)
    again = torch.optim.Adam(resumed.parameters(), lr=1e-3, fused=True)
    checkpoints.load_optimizer(again, loaded.tensors["optimizer"])
    assert resumed.spec == SPEC
    for step in range(5, 10):
        update(policy, optimizer, step)
        update(resumed, again, step)
    kept, _ = checkpoints.optimizer_to_tensors(optimizer)
    found, _ = checkpoints.optimizer_to_tensors(again)
    assert sorted(kept) == sorted(found) and len(kept) == 3 * len(list(policy.parameters()))
    for name, value in kept.items():
        assert value.dtype == found[name].dtype and value.numpy().tobytes() == found[name].numpy().tobytes(), name
    for name, value in policy.state_dict().items():
        assert value.numpy().tobytes() == resumed.state_dict()[name].numpy().tobytes(), name


def test_an_optimizer_before_its_first_step_round_trips(tmp_path):
    policy = Policy(SPEC)
    optimizer = torch.optim.Adam(policy.parameters(), fused=True)
    tensors, _ = checkpoints.optimizer_to_tensors(optimizer)
    loaded = checkpoints.load(checkpoints.save(tmp_path, 0, {"optimizer": tensors}, {}))
    checkpoints.load_optimizer(optimizer, loaded.tensors["optimizer"])
    assert optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize(
    "state",
    [{}, {"policy_spec": None}, {"policy_spec": {**SPEC.to_dict(), "action_size": 3}}, {"policy_spec": {"x": 1}}],
)
def test_a_checkpoint_without_a_policy_that_fits_is_refused(tmp_path, state):
    weights = {name: value.detach() for name, value in Policy(SPEC).state_dict().items()}
    path = checkpoints.save(tmp_path, 1, {"policy": weights}, state)
    with pytest.raises(RunError, match="holds no readable policy"):
        checkpoints.policy_of(checkpoints.load(path))
