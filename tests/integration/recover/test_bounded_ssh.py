"""gpu-mesh-ssh, which Ansible runs as ssh: it passes on what is said, within limits, and ssh ends with it."""

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_mesh.hosts import bounded_ssh
from marks import soak
from sites import end_all_with, eventually

COMMAND = Path(sys.executable).parent / bounded_ssh.COMMAND

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A function that starts gpu-mesh-ssh with a shell script as its ssh; all is ended afterwards."""
    mark = f"TEST_OWNS={uuid.uuid4().hex}"
    monkeypatch.setenv(*mark.split("="))

    def run(script: str, *arguments: str) -> subprocess.Popen[bytes]:
        ssh = tmp_path / "ssh"
        ssh.write_text(f"#!/bin/sh\n{script}\n")
        ssh.chmod(0o700)
        monkeypatch.setenv(bounded_ssh.PROGRAM, str(ssh))
        monkeypatch.chdir(tmp_path)
        pipe = subprocess.PIPE
        return subprocess.Popen([COMMAND, *arguments], stdin=pipe, stdout=pipe, stderr=pipe)

    yield run
    end_all_with(mark)


def is_alive(pid: Path) -> bool:
    """Whether the process whose number the file holds has not ended."""
    return Path("/proc", pid.read_text().strip()).exists()


def test_ssh_is_given_words_and_input_and_what_it_prints_and_its_exit_status_come_back(start: Start) -> None:
    process = start('cat; echo "$@"; echo alas >&2; exit 3', "-p", "22", "a host", "id")
    said = process.communicate(b"input\n")
    assert (process.returncode, said) == (3, (b"input\n-p 22 a host id\n", b"alas\n"))


def test_an_ssh_that_was_killed_is_told_apart_from_one_that_ended(start: Start) -> None:
    process = start("kill -KILL $$")
    process.communicate()
    assert process.returncode == 128 + signal.SIGKILL


def test_an_ssh_that_is_not_there_is_said_as_a_connection_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bounded_ssh.PROGRAM, str(tmp_path / "none"))
    process = subprocess.run([COMMAND], capture_output=True, text=True)
    assert process.stderr == f"{tmp_path}/none: No such file or directory\n"
    assert process.returncode == 255


@pytest.mark.parametrize("to", ["", soak(">&2")])
def test_what_is_printed_without_end_is_cut_off_and_said_in_the_last_line(
    start: Start, tmp_path: Path, to: str
) -> None:
    process = start(f"echo $$ >pid; exec cat /dev/zero {to}")
    out, errors = process.communicate()
    assert process.returncode == 255
    assert len(out) <= bounded_ssh.MOST
    assert len(errors) < bounded_ssh.MOST_ERRORS + 100
    assert errors.decode().splitlines()[-1] == bounded_ssh.TOO_MUCH
    assert eventually(lambda: not is_alive(tmp_path / "pid"))


@pytest.mark.parametrize(
    ("hosts", "most"),
    [(1, 2 * 2**20), (8, 2 * 2**20), (16, 2**20), (64, 2**18), (1000, 2**18), (0, 2 * 2**20)],
)
def test_the_more_hosts_share_a_run_the_less_each_may_print(hosts: int, most: int) -> None:
    assert bounded_ssh.most(hosts) == most


def test_in_a_run_for_many_hosts_less_is_passed_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bounded_ssh.LIMIT, str(bounded_ssh.most(64)))
    out, errors = start("head -c 300000 /dev/zero").communicate()
    assert len(out) <= 2**18
    assert errors.decode().splitlines()[-1] == bounded_ssh.TOO_MUCH


def test_of_errors_within_the_limit_only_the_beginning_is_passed_on(start: Start) -> None:
    process = start("head -c 1000000 /dev/zero >&2; echo out")
    out, errors = process.communicate()
    assert (process.returncode, out, len(errors)) == (0, b"out\n", bounded_ssh.MOST_ERRORS)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, soak(signal.SIGHUP), soak(signal.SIGINT)], ids=lambda number: number.name
)
def test_told_to_end_it_tells_ssh_and_ends_with_it(start: Start, tmp_path: Path, number: int) -> None:
    script = "trap 'echo yes >told; exit 255' TERM; echo $$ >pid; echo ready; while :; do sleep 0.05; done"
    process = start(script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.wait(20) == 255
    assert (tmp_path / "told").exists()
    assert not is_alive(tmp_path / "pid")
    process.communicate()


def test_when_nobody_reads_any_more_ssh_ends_too(start: Start, tmp_path: Path) -> None:
    process = start("echo $$ >pid; echo ready; cat; trap '' PIPE; while :; do echo more; sleep 0.05; done")
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    process.stdin.close()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not is_alive(tmp_path / "pid")
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_when_nobody_reads_any_more_an_ssh_that_prints_nothing_ends_too(start: Start, tmp_path: Path) -> None:
    process = start("echo $$ >pid; echo ready; exec sleep 300")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not is_alive(tmp_path / "pid")
    process.communicate()


def test_a_program_around_ssh_that_does_not_obey_is_ended_all_the_same(start: Start, tmp_path: Path) -> None:
    process = start("trap '' TERM; echo $$ >pid; while :; do echo more; sleep 0.1; done")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(30)
    assert not is_alive(tmp_path / "pid")


def test_a_master_connection_that_stays_in_the_background_holds_nothing_up(
    start: Start, tmp_path: Path
) -> None:
    process = start("sleep 300 & echo $! >pid; echo done")
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, b"done\n", b"")
    assert is_alive(tmp_path / "pid")
