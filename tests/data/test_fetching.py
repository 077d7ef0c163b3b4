"""Published files: resumed, checked, and never half there. A real server on this machine; never the network."""

import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from gipo_cli.data import catalog, fetching, remotes
from gipo_cli.data.fetching import fetch, import_file, is_whole
from gipo_cli.data.remotes import REMOTES, Remote, remote_named
from gipo_cli.errors import DataError, SettingError

NAME = "d4rl:hopper-medium-v2"
CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT, and misbehaves as told."""

    daemon_threads = True
    content = CONTENT
    ranges = True  # knows Range
    dies_after: tuple[int, ...] = ()  # bytes after which each of the next answers breaks off
    says_length = True

    def __init__(self):
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Answer)

    def handle_error(self, *_):
        pass  # a client that was killed


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if self.path != "/there.hdf5":
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        content = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if server.dies_after:
            content, server.dies_after = content[: server.dies_after[0]], server.dies_after[1:]
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the file that a name of the catalog stands for, and a cache of its own."""
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{running.server_port}/there.hdf5"
        remote = Remote(NAME, url, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        monkeypatch.setitem(remotes.REMOTES, NAME, remote)
        yield running
        running.shutdown()
        thread.join()


def part_of(remote):
    return remote.place.with_name("there.hdf5.part")


def fetched(remote):
    came = []
    place = fetch(remote, came.append)
    assert sum(came) == remote.size
    assert is_whole(place, remote)
    assert [path.name for path in place.parent.iterdir()] == ["there.hdf5"]
    return place


def test_a_file_is_fetched_and_found_by_its_name(server):
    place = fetched(remote_named(NAME))
    assert place.read_bytes() == CONTENT
    assert catalog.locate(NAME) == (place, "hopper-medium-v2")
    assert server.asked == [None]


def test_a_transfer_that_breaks_off_goes_on_by_itself(server):
    server.dies_after = (1_000_000, 500_000)
    fetched(remote_named(NAME))
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_transfer_that_keeps_breaking_off_is_an_error_and_goes_on_at_the_next_call(server):
    server.dies_after = (1_000_000, 0)
    remote = remote_named(NAME)
    with pytest.raises(DataError) as refused:
        fetch(remote, lambda n: None)
    assert refused.value.message.startswith(f"{remote.url} broke off after 1,000,000 of 3,000,000 bytes (")
    assert refused.value.hint == (
        f"`gipo datasets fetch {NAME}` goes on from there.\n"
        f"Without this server: download {remote.url} elsewhere;\n"
        f"`gipo datasets fetch {NAME} --from FILE` checks the file and puts it at {remote.place}."
    )
    assert part_of(remote).read_bytes() == CONTENT[:1_000_000]
    assert not remote.place.exists()
    fetched(remote)
    assert server.asked == [None, "bytes=1000000-", "bytes=1000000-"]


def test_a_process_that_is_killed_leaves_what_came_in_for_the_next(server):
    remote = remote_named(NAME)
    code = f"""
import os
from gipo_cli.data import fetching
from gipo_cli.data.remotes import Remote
fetching.PIECE = 100_000
came = 0
def on_bytes(n):
    global came
    came += n
    if came > 1_200_000:
        os.kill(os.getpid(), 9)
fetching.fetch(Remote{(remote.name, remote.url, remote.size, remote.sha256)}, on_bytes)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == -9
    there = part_of(remote).stat().st_size
    assert 0 < there < len(CONTENT)
    fetched(remote)
    assert server.asked == [None, f"bytes={there}-"]


def test_a_server_without_ranges_begins_again(server):
    server.ranges, server.dies_after = False, (1_000_000,)
    fetched(remote_named(NAME))
    assert server.asked == [None, "bytes=1000000-"]


@pytest.mark.parametrize("there", [CONTENT + b"x", CONTENT[:10]])
def test_a_part_that_does_not_fit_is_thrown_away(server, there):
    remote = remote_named(NAME)
    part_of(remote).parent.mkdir(parents=True)
    part_of(remote).write_bytes(there)
    fetched(remote)


def test_a_part_of_another_file_is_found_out_and_thrown_away(server):
    remote = remote_named(NAME)
    part_of(remote).parent.mkdir(parents=True)
    part_of(remote).write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="its sha256 is"):
        fetch(remote, lambda n: None)
    assert list(remote.place.parent.iterdir()) == []
    fetched(remote)


def test_another_file_of_the_same_size_is_refused(server):
    server.content = bytes(len(CONTENT))
    remote, zeros = remote_named(NAME), hashlib.sha256(bytes(len(CONTENT))).hexdigest()
    with pytest.raises(DataError) as refused:
        fetch(remote, lambda n: None)
    assert refused.value.message == (
        f"what {remote.url} sent is not {NAME}: its sha256 is {zeros}, expected {remote.sha256}."
    )
    assert list(remote.place.parent.iterdir()) == []


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [2_999_999, 3_000_001])
def test_a_file_of_another_size_is_refused(server, size, says_length):
    server.content, server.says_length = (CONTENT + b"x")[:size], says_length
    remote = remote_named(NAME)
    with pytest.raises(DataError) as refused:
        fetch(remote, lambda n: None)
    if says_length or size > len(CONTENT):
        assert refused.value.message.endswith(f"it has {size:,} bytes, expected 3,000,000.")
    else:  # which looks like a connection that was lost
        assert "broke off after 2,999,999 of 3,000,000 bytes" in refused.value.message
    assert not remote.place.exists()


def test_a_file_that_shrank_on_the_server_is_refused(server):
    remote = remote_named(NAME)
    part_of(remote).parent.mkdir(parents=True)
    part_of(remote).write_bytes(CONTENT[:2_000_000])
    server.content = CONTENT[:1_000_000]
    with pytest.raises(DataError, match="it has 1,000,000 bytes, expected 3,000,000"):
        fetch(remote, lambda n: None)
    assert server.asked == ["bytes=2000000-", None]


def test_a_file_that_is_gone_is_named(server, gipo):
    remote = remote_named(NAME)
    url = remote.url.replace("there", "gone")
    with pytest.raises(DataError, match=f"{url} answers 404 Not Found"):
        fetch(replace(remote, url=url), lambda n: None)


def test_two_processes_do_not_fetch_the_same(server):
    remote = remote_named(NAME)
    with fetching._only_one(part_of(remote), remote), pytest.raises(DataError, match=f"is fetching {NAME}"):
        fetch(remote, lambda n: None)


def test_a_disk_without_room_is_found_out_before(server, monkeypatch):
    monkeypatch.setattr(fetching, "SPARE_DISK", 2**60)
    with pytest.raises(DataError, match=rf"{NAME} has 3,000,000 bytes, and .* has [\d,]+ left"):
        fetch(remote_named(NAME), lambda n: None)
    assert server.asked == []


def test_without_a_network_the_command_says_what_to_do_by_hand(server, gipo, monkeypatch):
    remote = replace(remote_named(NAME), url="http://127.0.0.1:9/there.hdf5")  # nothing listens there
    monkeypatch.setitem(remotes.REMOTES, NAME, remote)
    outcome = gipo("datasets", "fetch", NAME, "--quiet")
    assert (outcome.exit_code, outcome.stdout) == (3, "")
    assert outcome.stderr == (
        "gipo: http://127.0.0.1:9/there.hdf5 cannot be reached ([Errno 111] Connection refused).\n"
        "      Without this server: download http://127.0.0.1:9/there.hdf5 elsewhere;\n"
        f"      `gipo datasets fetch {NAME} --from FILE` checks the file and puts it at {remote.place}.\n"
    )
    assert list(remote.place.parent.iterdir()) == []


def test_the_command_fetches_once_and_then_knows(server, gipo):
    for _ in range(2):
        outcome = gipo("datasets", "fetch", NAME, "--json")
        assert outcome.exit_code == 0
        document = json.loads(outcome.stdout)
        assert (document["bytes"], document["sha256"]) == (3_000_000, hashlib.sha256(CONTENT).hexdigest())
    assert len(server.asked) == 1
    assert outcome.stderr == f"{NAME} is there already, and whole.\n"


def test_a_damaged_file_in_the_cache_is_fetched_again(server, gipo):
    place = fetched(remote_named(NAME))
    place.write_bytes(CONTENT[:-1] + b"x")
    assert gipo("datasets", "fetch", NAME, "--quiet").exit_code == 0
    assert place.read_bytes() == CONTENT


def test_a_file_downloaded_by_hand_is_imported_after_the_same_checks(server, gipo, tmp_path):
    (tmp_path / "right").write_bytes(CONTENT)
    (tmp_path / "wrong").write_bytes(bytes(len(CONTENT)))
    (tmp_path / "short").write_bytes(CONTENT[:-1])
    remote = remote_named(NAME)
    for wrong, message in (("wrong", "its sha256 is"), ("short", "it has 2,999,999 bytes"), ("none", "no file")):
        with pytest.raises(DataError, match=message):
            import_file(tmp_path / wrong, remote)
        assert not remote.place.exists()
    assert gipo("datasets", "fetch", NAME, "--from", tmp_path / "right").exit_code == 0
    assert remote.place.read_bytes() == CONTENT
    assert server.asked == []


def test_a_log_that_was_not_fetched_says_how_to(gipo, tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    outcome = gipo("datasets", "info", NAME)
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: {NAME} is not on this machine.\n      `gipo datasets fetch {NAME}` gets its 152,756,557 bytes.\n"
    )


def test_a_name_that_is_none_is_refused():
    with pytest.raises(SettingError, match="there is no published log 'hopper-medium'") as refused:
        remote_named("hopper-medium")
    assert refused.value.hint == f"Did you mean '{NAME}'?"


def test_the_table_has_every_robot_and_kind():
    robots = ("hopper", "walker2d", "halfcheetah", "ant")
    kinds = ("random", "medium", "expert", "medium-replay", "full-replay", "medium-expert")
    assert set(REMOTES) == {f"d4rl:{robot}-{kind}-v2" for robot in robots for kind in kinds}
    assert all(re.fullmatch("[0-9a-f]{64}", remote.sha256) for remote in REMOTES.values())
    assert len({remote.sha256 for remote in REMOTES.values()}) == 24
    assert REMOTES["d4rl:ant-medium-expert-v2"].url.endswith("/gym_mujoco_v2/ant_medium_expert-v2.hdf5")
