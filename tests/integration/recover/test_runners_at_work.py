"""The look for runners that generate, in each shell that a host may have."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from gpu_mesh.standin.server import Standin
from marks import soak
from sites import eventually

pytestmark = pytest.mark.usefixtures("runners")
FUNCTIONS = (ROOT / "playbooks/recovery/files/gpu_mesh.sh").read_text()
SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=["sh", soak("bash", name="bash"), soak("busybox", name="busybox")])
def shell(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = SHELLS[request.param]
    if shutil.which(found[0]) is None:
        pytest.skip(f"there is no {found[0]} here")
    return found


@pytest.fixture
def idle(standin: Callable[..., Standin]) -> str:
    """The look where Ollama has no model loaded."""
    return look(standin())


@pytest.fixture
def loaded(standin: Callable[..., Standin]) -> str:
    """The look where Ollama has one model loaded."""
    return look(standin(loaded=["a"]))


def look(server: Standin, scope: str = "", unit: str = "") -> str:
    return f"{FUNCTIONS}\nrunners_at_work '{scope}' '{unit}' 127.0.0.1:{server.port}"


BUSY = "while :; do :; done"
TREES = {
    # generation of Ollama: what its server starts for a model, below its own folder
    "0.1": "exec runners/cpu/ollama_llama_server runner --model a",
    "0.12": "exec ./ollama runner --model a --port 40001",
    "0.30": "exec lib/ollama/llama-server runner --model a",
    "one to come": "exec lib/ollama/inference runner --model a",
    "behind a wrapper": "sh -c 'lib/ollama/inference runner --model a & wait'",
}


def tree(folder: Path, starts: str, does: str) -> "subprocess.Popen[bytes]":
    """Start a server named ollama whose child is a runner; end both with its process group."""
    for name in (
        "ollama",
        "runners/cpu/ollama_llama_server",
        "lib/ollama/llama-server",
        "lib/ollama/inference",
    ):
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.symlink_to("/bin/bash")
    (folder / "runner").write_text(does)
    (folder / "serve").write_text(f"({starts}) & wait")
    return subprocess.Popen(["./ollama", "serve"], cwd=folder, start_new_session=True)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like Ollama's runner of a model, and generates; its server has ended."""
    (tmp_path / "ollama").symlink_to("/bin/bash")
    (tmp_path / "runner").write_text(BUSY)
    with subprocess.Popen(["./ollama", "runner", "--model", "a"], cwd=tmp_path) as process:
        yield process
        process.kill()


@pytest.fixture(
    params=["0.30", "behind a wrapper", *(soak(name, name=name) for name in ("0.1", "0.12", "one to come"))]
)
def generation(request: pytest.FixtureRequest) -> str:
    return TREES[request.param]


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()


@pytest.mark.parametrize(
    ("shell", "generation"),
    [
        *(("sh", name) for name in TREES),
        *((shell, "0.30") for shell in ("bash", "busybox")),
        *(
            soak(shell, name, name=f"{shell}-{name}")
            for shell in ("bash", "busybox")
            for name in TREES
            if name != "0.30"
        ),
    ],
    indirect=True,
)
def test_the_runner_of_each_generation_of_ollama_is_seen_to_generate(
    tmp_path: Path, shell: list[str], generation: str, loaded: str
) -> None:
    with tree(tmp_path, generation, BUSY) as server:
        try:
            assert eventually(lambda: said(*shell, "-c", f"{FUNCTIONS}\nrunner_ticks").split()[1] != "0")
            assert said(*shell, "-c", loaded) == "gpu-mesh: at work"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_a_runner_that_waits_for_a_request_is_not_at_work(
    tmp_path: Path, generation: str, loaded: str
) -> None:
    with tree(tmp_path, generation, "sleep 60; true") as server:
        try:
            assert eventually(lambda: said("sh", "-c", f"{FUNCTIONS}\nollama_runners") != "")
            assert said("sh", "-c", loaded) == ""
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_when_a_runner_ends_during_the_look_nothing_is_known_and_that_counts_as_work(
    tmp_path: Path, shell: list[str], loaded: str
) -> None:
    with tree(tmp_path, TREES["0.30"], "sleep 60; true") as server:
        assert eventually(lambda: said(*shell, "-c", f"{FUNCTIONS}\nollama_runners") != "")
        functions, _, call = loaded.rpartition("\n")
        ends = f"sleep() {{ kill -KILL -{server.pid}; command sleep 1; }}"
        assert said(*shell, "-c", f"{functions}\n{ends}\n{call}") == "gpu-mesh: at work"


def test_the_server_itself_and_a_client_of_it_are_no_runners(tmp_path: Path, idle: str) -> None:
    (tmp_path / "ollama").symlink_to("/bin/bash")
    for file in ("serve", "run"):
        (tmp_path / file).write_text(BUSY)
    with (
        subprocess.Popen(["./ollama", "serve"], cwd=tmp_path) as server,
        subprocess.Popen(["./ollama", "run"], cwd=tmp_path) as client,
    ):
        try:
            assert said("sh", "-c", idle) == ""
        finally:
            server.kill()
            client.kill()


@pytest.mark.parametrize(
    "words",
    [["./llama-server", "busy"], ["./ollama", "launch", "busy"]],
    ids=["a llama-server of its own", "what a client of Ollama has started"],
)
def test_what_ollamas_server_has_not_started_is_no_runner(
    tmp_path: Path, words: list[str], idle: str
) -> None:
    for name in ("llama-server", "ollama"):
        (tmp_path / name).symlink_to("/bin/bash")
    (tmp_path / "busy").write_text(BUSY)
    (tmp_path / "launch").write_text('sh "$1" & wait')
    with subprocess.Popen(words, cwd=tmp_path, start_new_session=True) as process:
        try:
            assert said("sh", "-c", idle) == ""
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a process namespace")
def test_an_orphan_that_a_containers_first_process_has_adopted_is_no_runner(
    tmp_path: Path, idle: str
) -> None:
    (tmp_path / "ollama").symlink_to("/bin/bash")
    (tmp_path / "busy").write_text(BUSY)
    (tmp_path / "look").write_text(idle)
    (tmp_path / "serve").write_text("(sh busy & exec true); sleep 0.2; sh look; echo looked; kill -9 -1")
    command = ["unshare", "--pid", "--fork", "--mount-proc", "./ollama", "serve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert "at work" not in done.stdout
    assert "looked" in done.stdout


def test_a_runner_whose_server_has_ended_is_seen(
    shell: list[str], runner: "subprocess.Popen[bytes]", idle: str
) -> None:
    assert said(*shell, "-c", idle) == "gpu-mesh: at work"


def test_a_runner_that_ends_during_the_look_leaves_open_whether_another_one_generates(
    shell: list[str], runner: "subprocess.Popen[bytes]", loaded: str
) -> None:
    taken = Path(f"/proc/{runner.pid}/stat")
    assert eventually(lambda: int(taken.read_text().split()[13]) > 10)
    # The pause between the two counts is when it ends.
    ends = f"sleep() {{ kill -9 {runner.pid}; while grep -q . /proc/{runner.pid}/cmdline; do :; done; }}"
    assert (
        said(*shell, "-c", loaded.replace("\nrunners_at_work", f"\n{ends}\nrunners_at_work"))
        == "gpu-mesh: at work"
    )


def test_where_a_model_is_loaded_but_no_runner_is_seen_nothing_is_known(
    shell: list[str], loaded: str
) -> None:
    assert said(*shell, "-c", loaded) == "gpu-mesh: at work unseen"


def test_where_ollama_does_not_say_what_it_has_loaded_nothing_is_known(
    shell: list[str], standin: Callable[..., Standin]
) -> None:
    assert said(*shell, "-c", look(standin(fault="hang"))) == "gpu-mesh: at work unseen"


def test_of_two_loaded_models_one_seen_runner_does_not_speak_for_both(
    tmp_path: Path, standin: Callable[..., Standin]
) -> None:
    with tree(tmp_path, TREES["0.30"], "exec sleep 60") as server:
        try:
            assert eventually(lambda: said("sh", "-c", f"{FUNCTIONS}\nollama_runners") != "")
            assert said("sh", "-c", look(standin(loaded=["a", "b"]))) == "gpu-mesh: at work unseen"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


UNIT = "unit_processes() { echo %s; }"


def test_only_the_runners_of_the_units_own_server_count(
    tmp_path: Path, shell: list[str], standin: Callable[..., Standin]
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    with (
        tree(ours, TREES["0.30"], "exec sleep 60") as server,
        tree(theirs, TREES["0.30"], BUSY) as other,
    ):
        try:
            every = f"{FUNCTIONS}\nollama_runners"
            assert eventually(lambda: len(said("sh", "-c", every).splitlines()) == 2)
            found = [line.split()[0] for line in said("sh", "-c", every).splitlines()]
            begin = look(standin(loaded=["a"]), "system", "ollama.service")
            mine = [pid for pid in found if os.getpgid(int(pid)) == server.pid]
            unit = UNIT % " ".join([str(server.pid), *mine])
            within = begin.replace("\nrunners_at_work", f"\n{unit}\nrunners_at_work")
            assert said(*shell, "-c", within) == ""
            assert said(*shell, "-c", look(standin(loaded=["a"]))) == "gpu-mesh: at work"
            client = UNIT % os.getpid()  # a unit that only starts a container
            begin = begin.replace("\nrunners_at_work", f"\n{client}\nrunners_at_work")
            assert said(*shell, "-c", begin) == "gpu-mesh: at work"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            os.killpg(other.pid, signal.SIGKILL)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide processes")
def test_where_processes_are_hidden_it_is_said_that_nothing_can_be_seen(
    tmp_path: Path, shell: list[str], loaded: str
) -> None:
    # In a process namespace of its own, for the option holds for all of one.
    nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    (tmp_path / "ollama").symlink_to("/bin/bash")
    (tmp_path / "runner").write_text(BUSY)
    start = f"cd {tmp_path} && ./ollama runner & "
    hide = f'{start} mount -o remount,hidepid=2 /proc && {nobody} "$@"; exit'
    command = ["unshare", "-mpf", "--kill-child", "--mount-proc", "sh", "-c", hide, "sh", *shell]
    if said(*command, "-c", "echo works; ls -d /proc/1") != "works":
        pytest.skip("processes cannot be hidden here")
    assert said(*command, "-c", loaded) == "gpu-mesh: at work unseen"


def test_runners_that_have_lost_their_server_are_named_with_the_memory_that_they_hold(
    runner: "subprocess.Popen[bytes]", shell: list[str]
) -> None:
    look = f"{FUNCTIONS}\norphaned_runners"
    named = re.compile(rf"gpu-mesh: left runners without a server hold memory: {runner.pid} \([1-9]\d* MiB\)")
    assert eventually(lambda: named.fullmatch(said(*shell, "-c", look)))
    runner.kill()
    runner.wait()
    assert said(*shell, "-c", look) == ""


def test_the_runners_of_a_server_that_lives_are_not_left_behind(tmp_path: Path, generation: str) -> None:
    with tree(tmp_path, generation, "sleep 60; true") as server:
        try:
            assert eventually(lambda: said("sh", "-c", f"{FUNCTIONS}\nollama_runners") != "")
            assert said("sh", "-c", f"{FUNCTIONS}\norphaned_runners") == ""
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.parametrize(("kibibytes", "words"), [(0, "0 MiB"), (317_000, "309 MiB"), (5_500_000, "5.2 GiB")])
def test_memory_is_told_in_binary_units(kibibytes: int, words: str) -> None:
    assert said("sh", "-c", f"{FUNCTIONS}\nbinary_size {kibibytes}") == words
