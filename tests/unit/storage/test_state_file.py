"""The state file: what is written is read back, damage is set aside, several writers lose nothing."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkout import PROGRAMS
from factories import NOW, answers, plain
from gpu_mesh.diagnosis.evaluate import apply_observation
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.storage import state_file
from gpu_mesh.storage.state_file import StateError, StateFile, decode, encode
from gpu_mesh.system.log import Log

ADD = (sys.executable, PROGRAMS / "add_checks.py")


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state", Log(tmp_path / "log/gpu-mesh.log"))


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "state").iterdir()}


def test_what_was_saved_is_there_again(file: StateFile) -> None:
    with file.update(NOW) as state:
        state.nodes["iceland"] = NodeState(failures=3, models=("a", "b"))
    assert file.load().nodes["iceland"] == NodeState(failures=3, models=("a", "b"))


def test_a_folder_without_state_starts_anew(file: StateFile) -> None:
    assert file.load() == State()


def test_an_exception_in_the_change_saves_nothing(file: StateFile) -> None:
    with file.update(NOW) as state:
        state.inventory_error = "before"
    with pytest.raises(ZeroDivisionError), file.update(NOW) as state:  # noqa: PT012 - the block is the change
        state.inventory_error = "after"
        raise ZeroDivisionError
    assert file.load().inventory_error == "before"


def save_twice(file: StateFile) -> None:
    for text in ("first", "second"):
        with file.update(NOW) as state:
            state.inventory_error = text


DAMAGE = {
    "an empty file": b"",
    "half a file": b'{"schema": 1, "nodes": {',
    "no JSON": b"\x00\xff\x00",
    "JSON of another shape": b'{"schema": 1, "nodes": 3}',
    "no schema": b"{}",
    "deep nesting": b"[" * 100_000,
    "a time that no date has": b'{"schema": 1, "tick": {"at": 1e18}}',
    "a time of a node that no date has": b'{"schema": 1, "nodes": {"a": {"since": -1e18}}}',
    "counters of 25 hours": b'{"schema": 1, "nodes": {"a": {"hourly_checks": [%s0]}}}' % (b"0, " * 24),
    "a time of an alert that no date has": b'{"schema": 1, "alerts": [{"id": 1, "at": 1e18, '
    b'"level": "info", "kind": "test", "text": ""}]}',
    "a number that cannot grow": b'{"schema": 1, "next_alert": 18446744073709551615}',
    "such a number of an hour": b'{"schema": 1, "nodes": {"a": {"hourly_checks": [%s9223372036854775807]}}}'
    % (b"0, " * 23),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_set_aside_with_an_alert_and_the_copy_before_it_goes_on(
    file: StateFile, tmp_path: Path, damage: str
) -> None:
    save_twice(file)
    (tmp_path / "state/state.json").write_bytes(DAMAGE[damage])
    with file.update(NOW) as state:
        assert state.inventory_error == "first"
        assert [alert.level for alert in state.alerts] == ["error"]
        assert "state.damaged-1800000000.json" in state.alerts[0].text
    assert (tmp_path / "state/state.damaged-1800000000.json").read_bytes() == DAMAGE[damage]
    assert "event=state_set_aside" in (tmp_path / "log/gpu-mesh.log").read_text()
    with file.update(NOW) as state:
        assert len(state.alerts) == 1


def test_a_state_that_an_older_version_wrote_is_set_aside_whole_and_how_to_put_it_back_is_told(
    file: StateFile, tmp_path: Path
) -> None:
    save_twice(file)
    for name in ("state.json", "state.previous.json"):
        (tmp_path / "state" / name).write_text('{"schema": 0, "nodes": "of a shape of old"}')
    with file.update(NOW) as state:
        (alert,) = state.alerts
    aside = tmp_path / "state/state.older-version-1800000000.json"
    assert aside.read_text() == '{"schema": 0, "nodes": "of a shape of old"}'
    assert "was written by an older gpu-mesh (schema 0, this one reads 1)" in alert.text
    assert alert.text.endswith("monitoring starts anew")
    assert f"mv {aside} {tmp_path}/state/state.json" in alert.next_step


@pytest.mark.parametrize(
    ("newer", "other"),
    [
        ("state.json", b""),
        ("state.json", b'{"schema": 1}'),
        ("state.previous.json", b""),
        ("state.previous.json", b'{"schema": 0}'),
    ],
)
def test_a_process_that_meets_the_state_of_a_newer_version_ends_and_leaves_it_as_it_is(
    file: StateFile, tmp_path: Path, newer: str, other: bytes
) -> None:
    save_twice(file)
    folder = tmp_path / "state"
    for path in (folder / "state.json", folder / "state.previous.json"):
        path.write_bytes(b'{"schema": 99, "nodes": "of a shape to come"}' if path.name == newer else other)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    says = rf"{folder}/{newer} was written by a newer gpu-mesh \(schema 99, this one reads 1\); use that one"
    with pytest.raises(StateError, match=says):
        file.load()
    with pytest.raises(StateError, match=says), file.update(NOW):
        pass
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_newer_version_left_beside_a_state_that_can_be_read_is_no_hindrance(
    file: StateFile, tmp_path: Path
) -> None:
    save_twice(file)
    (tmp_path / "state/state.previous.json").write_text('{"schema": 99}')
    with file.update(NOW) as state:
        assert state.inventory_error == "second"


def test_a_field_that_a_later_version_has_added_is_passed_over() -> None:
    later = encode(State(inventory_error="kept")).replace(b'"schema":1,', b'"schema":1,"later":[7],')
    assert b"later" in later
    assert decode(later) == State(inventory_error="kept")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()


def gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3_000_000_000)  # sparse: it takes no space


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("make", [a_pipe, a_folder, gigabytes, a_link_to_nothing])
def test_whatever_lies_in_the_place_of_the_state_holds_nobody_up(
    file: StateFile, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    state = tmp_path / "state/state.json"
    state.parent.mkdir(exist_ok=True)
    make(state)
    assert file.load().nodes == {}
    with file.update(NOW) as known:
        known.next_silence = 7
    assert state.is_file()
    assert not state.is_symlink()
    assert file.load().next_silence == 7


def test_with_both_copies_damaged_monitoring_starts_anew(file: StateFile, tmp_path: Path) -> None:
    save_twice(file)
    for name in ("state.json", "state.previous.json"):
        (tmp_path / "state" / name).write_text("?")
    with file.update(NOW) as state:
        assert (state.nodes, len(state.alerts)) == ({}, 1)


def test_a_look_at_a_damaged_file_leaves_it_where_it_is(file: StateFile, tmp_path: Path) -> None:
    save_twice(file)
    (tmp_path / "state/state.json").write_text("?")
    assert file.load().inventory_error == "first"
    assert names(tmp_path) == {"state.json", "state.previous.json", "state.lock"}


def test_nothing_is_left_behind_beside_state_its_copy_and_the_lock(file: StateFile, tmp_path: Path) -> None:
    save_twice(file)
    assert names(tmp_path) == {"state.json", "state.previous.json", "state.lock"}


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    file = StateFile(tmp_path / "state/deeper", Log(tmp_path / "log"))
    with pytest.raises(StateError, match=r"state.* cannot be written: .*--state-dir"), file.update(NOW):
        pass


def test_what_another_process_noted_after_the_caller_read_its_clock_is_not_taken_for_the_future(
    file: StateFile,
) -> None:
    long_ago = time.time() - 100
    with file.update(time.time()) as state:
        state.nodes["n"] = NodeState(last_check=time.time())
    with file.update(long_ago) as state:
        assert state.nodes["n"].last_check > long_ago + 50


def test_several_processes_that_write_at_once_lose_nothing(file: StateFile, tmp_path: Path) -> None:
    adders = [subprocess.Popen([*ADD, tmp_path / "state", "50"]) for _ in range(3)]
    assert [adder.wait(60) for adder in adders] == [0, 0, 0]
    assert file.load().nodes["n"].statistics.checks == 150


def test_a_writer_killed_at_any_moment_leaves_a_readable_state_and_no_lock(
    file: StateFile, tmp_path: Path
) -> None:
    confirmed = 0
    for kill_after in range(12):
        adder = subprocess.Popen([*ADD, tmp_path / "state", "100000"], stdout=subprocess.PIPE, text=True)
        assert adder.stdout
        for _ in range(kill_after + 1):
            adder.stdout.readline()
        os.kill(adder.pid, signal.SIGKILL)
        lines = kill_after + 1 + len(adder.stdout.read().splitlines())
        adder.wait()
        confirmed += lines
        state = file.load()
        assert confirmed <= state.nodes["n"].statistics.checks <= confirmed + 1
        confirmed = state.nodes["n"].statistics.checks
        with file.update(time.time()) as state:
            assert state.alerts == []


@pytest.fixture
def holder(file: StateFile, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock until it reads a line."""
    save_twice(file)
    command = [sys.executable, PROGRAMS / "hold_lock.py", tmp_path / "state/state.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_a_lock_that_nobody_lets_go_of_is_an_error_that_names_it(
    file: StateFile, tmp_path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_file, "LOCK_LIMIT", 0.2)
    os.kill(holder.pid, signal.SIGSTOP)
    lock = tmp_path / "state/state.lock"
    with pytest.raises(StateError, match=rf"{lock} locked for 0.2 s; .*fuser -v {lock}"), file.update(NOW):
        pass


def test_a_lock_that_is_let_go_of_was_only_waited_for(file: StateFile, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save_twice, file)
        holder.stdin.write("\n")
        holder.stdin.flush()
        saving.result()
    assert file.load().inventory_error == "second"


def test_a_file_system_without_hard_links_keeps_the_copy_all_the_same(
    file: StateFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:  # as on exFAT, which only root could mount for a test
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    save_twice(file)
    assert file.load().inventory_error == "second"
    (tmp_path / "state/state.json").write_text("?")
    assert file.load().inventory_error == "first"


texts = st.text(max_size=20)
numbers = st.floats(0, 4e9)
replies = st.builds(Reply, st.sampled_from([None, *Fault]), st.integers(0, 599), texts, st.floats(0, 1e5))
observations = st.builds(
    Observation,
    node=st.sampled_from(["a", "b"]),
    at=st.floats(1, 4e9),
    tags=replies,
    models=st.lists(texts, max_size=5).map(tuple),
    ps=st.none() | replies,
    loaded=st.lists(
        st.builds(
            LoadedModel, texts, st.integers(0, 2**62), st.integers(0, 2**62), numbers, st.integers(0, 2**62)
        ),
        max_size=3,
    ).map(tuple),
    cloud_models=st.lists(texts, max_size=2).map(tuple),
    node_clock=numbers,
    version=st.none() | texts,
)


@given(st.lists(observations, max_size=20))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_whatever_nodes_show_the_state_is_the_same_after_writing_and_reading(seen: list[Observation]) -> None:
    state = State()
    for observation in seen:
        apply_observation(state, plain(observation.node), observation)
    assert decode(encode(state)) == state


def test_a_node_takes_at_most_2_kib(tmp_path: Path) -> None:
    state = State()
    node = plain("iceland")
    models = tuple(f"some-model-{number}:30b-instruct-q4_K_M" for number in range(10))
    for number in range(3000):
        at = NOW + 30.0 * number
        reply = Reply(Fault.READ_TIMEOUT) if number % 7 == 0 else Reply(status=200, ms=45.123)
        loaded = (LoadedModel(models[0], 1, 1, at + 300),)
        seen = answers("iceland", at, *loaded, tags=reply, models=models, node_clock=at, version="0.12.9")
        apply_observation(state, node, seen)
    state.alerts = []
    assert len(encode(state)) - len(encode(State())) <= 2048


def test_of_the_models_in_an_older_file_only_the_sizes_are_unknown() -> None:
    older = b'{"schema":1,"nodes":{"a":{"loaded":["m","n"],"expiries":{"m":1800000300.5,"n":0.0}}}}'
    known = decode(older).node("a")
    assert known.loaded == (LoadedModel("m", expires_at=1800000300.5), LoadedModel("n"))
    assert known.expiries == {"m": 1800000300.5, "n": 0.0}


def test_an_older_version_finds_the_names_of_the_loaded_models_where_it_looks_for_them() -> None:
    loaded = (LoadedModel("m", 100, 40, NOW + 300, 4096), LoadedModel("n"))
    state = State(nodes={"a": NodeState(loaded=loaded)})
    on_disk = msgspec.json.decode(encode(state))["nodes"]["a"]
    assert on_disk["loaded"] == ["m", "n"]
    assert "expiries" not in on_disk
    assert decode(encode(state)) == state
    on_disk["loaded"] = ["n"]  # as it would write it, if it kept what it does not know
    again = decode(msgspec.json.encode({"schema": 1, "nodes": {"a": on_disk}}))
    assert again.node("a").loaded == (LoadedModel("n"),)


def test_the_latest_times_that_a_nodes_own_clock_can_show_are_no_damage() -> None:
    at = 253402387139.0  # 9999-12-31T23:59:59-23:59
    state, loaded = State(), LoadedModel("m", 100, 40, at, 4096)
    for later in (0, 30, 60):
        apply_observation(state, plain("a"), answers("a", NOW + later, loaded, node_clock=at))
    assert decode(encode(state)) == state


def test_what_a_node_has_not_got_is_not_written() -> None:
    state = State(nodes={"iceland": NodeState(failures=3)})
    assert msgspec.json.decode(encode(state))["nodes"] == {"iceland": {"failures": 3}}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_that_somebody_else_made_is_refused(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o777)
    os.chown(folder, 12345, 12345)
    with pytest.raises(
        StateError, match=r"is another user's; run it as the owner .* sudo -u '#12345' gpu-mesh"
    ):
        StateFile(folder, Log(tmp_path / "log")).make_folder()
    assert list(folder.iterdir()) == []
