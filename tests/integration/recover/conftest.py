"""What several tests of recoveries share."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checkout import PROGRAMS

MACHINE = tempfile.gettempdir()  # before the tests have one of their own: the same for all that run here


@contextmanager
def _locked(how: int) -> Iterator[None]:
    machine = os.open(MACHINE, os.O_RDONLY)
    try:
        fcntl.flock(machine, how)
        yield
    finally:
        os.close(machine)


@pytest.fixture
def runners() -> Iterator[None]:
    """No other test starts a runner of Ollama meanwhile, or looks for one: a look sees the whole machine."""
    with _locked(fcntl.LOCK_EX):
        yield


@pytest.fixture
def no_runners() -> Iterator[None]:
    """No test starts a runner of Ollama meanwhile."""
    with _locked(fcntl.LOCK_SH):
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
