"""What several tests of recoveries share."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from checkout import PROGRAMS


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
