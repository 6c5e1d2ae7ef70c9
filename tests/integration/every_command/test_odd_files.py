"""What lies in the place of one of our own files or folders holds no command up, and stops no alert."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from checkout import PROGRAMS
from each_command import STATUSES, WORDS
from gpu_mesh.storage import emergency_file
from marks import soak
from sites import Receiver, Site, end_all_with, eventually
from terminal import Terminal

PATIENCE = 30.0  # seconds for a command that would otherwise wait for ever
MOST_MEMORY = 200_000  # KiB, of the largest process; a command that runs Ansible takes some 100,000


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "content").write_text("x")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as there:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has a hundred letters at most
        there.bind(path.name)
        os.chdir(here)


def gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # of nothing, which takes no disk


FILES = (
    "state.json", "state.json.new", "state.lock", "deliver.lock", "run.lock", "look.lock", "publish.lock",
    "alertmanager.lock", "deliver.wanted", "recover.wanted", "publish.wanted", "look-here.wanted",
    "emergency-KEY.json", "emergency-KEY.lock", "emergency-KEY.notified", "mesh.json", "history.db",
    "history.db-journal", "history.error", "log/gpu-mesh.log", "recover.locks/box",
)  # fmt: skip
"""Then the state is the one before."""

FOLDERS = ("recover.locks", "log", "www")

CACHE = "cache/mesh-*.json"
"""Then Ansible reads the inventory anew, which takes half a second."""


@pytest.fixture
def checked(site: Site, tmp_path: Path, closed_port: int) -> Path:
    """Return a copy of the state folder of a mesh whose only node refuses, with all that is kept there."""
    node = {"url": f"http://127.0.0.1:{closed_port}", "recovery": "none", "unhealthy_threshold": 1}
    site.describe({"box": node})
    (tmp_path / "trace.yml").write_text("nodes: {gpu1: {}}\nstory: [{at: 1m, nodes: {gpu1: hang}}]\n")
    site.check()
    for words in (["drain", "box"], ["publish"], ["check"]):
        site.ok(*words)
    return site.state_dir.rename(tmp_path / "checked")


def plant(site: Site, checked: Path, make: Callable[[Path], None], names: tuple[str, ...]) -> None:
    """Make this in the place of each of the files and folders, and all others as they were."""
    shutil.rmtree(site.state_dir, ignore_errors=True)
    shutil.copytree(checked, site.state_dir)
    key = emergency_file.place(site.paths).stem.removeprefix("emergency-")
    for name in (name.replace("KEY", key) for name in names):
        for path in [*site.state_dir.glob(name)] or [site.state_dir / name]:
            assert "*" not in path.name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.parent.mkdir(exist_ok=True)
            make(path)


KINDS = (a_pipe, a_folder, a_link_to_nothing, a_link_to_itself, a_socket, gigabytes)
ROWS = [
    *((make, FILES, f"{make.__name__} for each file") for make in KINDS),
    *((make, FOLDERS, f"{make.__name__} for each folder") for make in (a_pipe, a_link_to_nothing)),
    (gigabytes, (CACHE,), "gigabytes for the cache"),
]
IN_SOAK = [soak(make, names, name=name) for make, names, name in ROWS]

SAYS_SO = {"history", "incidents", "report", "publish"}
"""These may say in one line why they cannot go on: they show or write what lies there."""


def is_fine(command: str, done: "subprocess.CompletedProcess[str]") -> bool:
    if "Traceback" in done.stderr or int(done.stdout.splitlines()[-1]) > MOST_MEMORY:
        return False
    last = done.stderr.splitlines()[-1:]
    refuses = done.returncode in (1, 2) and last and last[0].startswith("gpu-mesh: ")
    return done.returncode in STATUSES.get(command, {0}) or bool(command in SAYS_SO and refuses)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("make", "names"), [pytest.param(a_pipe, FILES, id=ROWS[0][2]), *IN_SOAK[1:]])
def test_every_command_works_whatever_lies_there_or_says_one_line(
    site: Site, checked: Path, tmp_path: Path, make: Callable[[Path], None], names: tuple[str, ...]
) -> None:
    wrong: list[str] = []
    for command, words in WORDS.items():
        plant(site, checked, make, names)
        given = [str(tmp_path / "trace.yml") if word == "TRACE" else word for word in words]
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / "measure_memory.py"), *site.command(*given)],
            env=site.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if not is_fine(command, done):
            wrong.append(f"{command}: exit status {done.returncode}: {done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("make", "names"), IN_SOAK)
def test_gpu_mesh_run_and_the_live_view_go_on_whatever_lies_there(
    site: Site, checked: Path, make: Callable[[Path], None], names: tuple[str, ...]
) -> None:
    plant(site, checked, make, names)
    with Terminal(site.command("top"), site.environment) as terminal:
        assert terminal.shows("q leave"), terminal.said
        terminal.press("q")
        assert terminal.ends() == 0, terminal.said
    plant(site, checked, make, names)
    before = (checked / "state.json").read_bytes()
    running = subprocess.Popen(site.command("run"), env=site.environment, stderr=subprocess.DEVNULL)
    try:
        state = site.paths.state_file
        assert eventually(lambda: state.is_file() and not state.is_symlink() and state.stat().st_size < 10**6)
        assert eventually(lambda: state.read_bytes() != before)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0
    finally:
        end_all_with(f"HOME={site.folder}")


@pytest.mark.parametrize("make", [a_folder, *(soak(make) for make in KINDS if make is not a_folder)])
def test_alerts_arrive_whatever_lies_in_the_place_of_our_files(
    site: Site, receiver: Receiver, checked: Path, make: Callable[[Path], None]
) -> None:
    site.alerts_go_to(receiver.url)
    plant(site, checked, make, (*FILES, "state.previous.json"))
    site.ok("check", timeout=PATIENCE)
    assert site.run("deliver", timeout=PATIENCE).returncode == 0
    assert "ERROR" in receiver.levels("box")
    for name in ("state.json", "state.lock", "deliver.lock", "mesh.json"):
        path = site.state_dir / name
        assert path.is_file(), name
        assert not path.is_symlink(), name
