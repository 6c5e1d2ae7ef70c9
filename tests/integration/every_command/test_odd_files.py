"""What lies in the place of one of our own files holds no command up, and stops no alert."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from marks import soak
from sites import Receiver, Site

PATIENCE = 30.0  # seconds for a command that would otherwise wait for ever


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


OURS = (
    "state.json", "state.previous.json", "state.json.new", "state.lock", "deliver.lock", "run.lock",
    "deliver.wanted", "recover.wanted", "mesh.json", "recover.locks",
)  # fmt: skip


def put(site: Site, make: Callable[[Path], None]) -> None:
    for name in OURS:
        path = site.state_dir / name
        if path.is_dir():
            path.rename(path.with_name(f"{name}.before"))
        path.unlink(missing_ok=True)
        make(path)


@pytest.mark.parametrize(
    "make", [a_folder, soak(a_pipe), soak(a_link_to_nothing), soak(a_link_to_itself), soak(a_socket)]
)
def test_alerts_arrive_whatever_lies_in_the_place_of_our_files(
    site: Site, receiver: Receiver, closed_port: int, make: Callable[[Path], None]
) -> None:
    site.describe(
        {"gpu1": {"url": f"http://127.0.0.1:{closed_port}", "unhealthy_threshold": 2, "recovery": "none"}}
    )
    site.alerts_go_to(receiver.url)
    site.check()
    put(site, make)
    for _ in range(2):
        assert site.run("check", timeout=PATIENCE).returncode == 0
    for words in (
        ["deliver"],
        ["recover"],
        ["status"],
        ["alerts", "list"],
        ["dashboard"],
        ["stats"],
        ["best"],
    ):
        done = site.run(*words, timeout=PATIENCE)
        assert done.returncode in (0, 1, 2), (words, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        assert "cannot" not in done.stderr, done.stderr
    assert "ERROR" in receiver.levels("gpu1")
    for name in ("state.json", "state.lock", "deliver.lock", "mesh.json"):
        path = site.state_dir / name
        assert path.is_file(), name
        assert not path.is_symlink(), name
