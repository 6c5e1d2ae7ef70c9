"""What several tests of recoveries share."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import PROGRAMS


@pytest.fixture(autouse=True)
def runners_of_this_machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let no test that starts a runner (by its marker) go on beside one whose look counts all of them."""
    alone = request.node.get_closest_marker("starts_runners")
    with (tmp_path_factory.getbasetemp().parent / "runners.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that puts a program of a test in the place of systemctl.

    It takes the command that a restart starts, and the unit's properties; it returns the file in which
    stands what systemctl was asked.
    """

    def put(starts: str, **shows: str) -> Path:
        program = tmp_path / "bin/systemctl"
        program.parent.mkdir()
        shutil.copy(PROGRAMS / "systemctl.sh", program)
        program.with_suffix(".starts").write_text(starts)
        program.with_suffix(".shows").write_text("".join(f"{name}={text}\n" for name, text in shows.items()))
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return program.with_suffix(".asked")

    return put
