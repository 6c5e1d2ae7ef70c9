"""The look for runners that generate, in each shell that a host may have."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sites import eventually

FUNCTIONS = (Path(__file__).parents[2] / "playbooks/recovery/files/gpu_mesh.sh").read_text()
LOOK = f"{FUNCTIONS}\nrunners_at_work"
SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = SHELLS[request.param]
    if shutil.which(found[0]) is None:
        pytest.skip(f"there is no {found[0]} here")
    return found


@pytest.fixture
def runner(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like Ollama's runner of a model, and generates."""
    (tmp_path / "ollama").symlink_to("/bin/bash")
    (tmp_path / "runner").write_text("while :; do :; done")
    with subprocess.Popen(["./ollama", "runner", "--model", "a"], cwd=tmp_path) as process:
        yield process
        process.kill()


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


def test_a_runner_that_generates_is_seen(shell: list[str], runner: "subprocess.Popen[bytes]") -> None:
    assert said(*shell, "-c", LOOK) == "gpu-mesh: at work"


def test_a_runner_that_ends_during_the_look_leaves_open_whether_another_one_generates(
    shell: list[str], runner: "subprocess.Popen[bytes]"
) -> None:
    taken = Path(f"/proc/{runner.pid}/stat")
    assert eventually(lambda: int(taken.read_text().split()[13]) > 10)
    # The pause between the two counts is when it ends.
    ends = f"sleep() {{ kill -9 {runner.pid}; while grep -q . /proc/{runner.pid}/cmdline; do :; done; }}"
    assert said(*shell, "-c", f"{FUNCTIONS}\n{ends}\nrunners_at_work") == "gpu-mesh: at work"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide processes")
def test_where_processes_are_hidden_it_is_said_that_nothing_can_be_seen(shell: list[str]) -> None:
    # In a process namespace of its own, for the option holds for all of one.
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    hide = f'mount -o remount,hidepid=2 /proc && {nobody} "$@"; exit'
    command = ["unshare", "-mpf", "--mount-proc", "sh", "-c", hide, "sh", *shell]
    if said(*command, "-c", "echo works; ls -d /proc/1") != "works":
        pytest.skip("processes cannot be hidden here")
    assert said(*command, "-c", LOOK) == "gpu-mesh: at work unseen"
