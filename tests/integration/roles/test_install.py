"""The role's install.py in real environments: what is installed is what the constraints list."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from checkout import ROOT

INSTALL = ROOT / "roles/mesh_monitor/files/install.py"


def _wheel(name: str, *needs: str) -> tuple[str, bytes]:
    """Return a wheel's name and content; it has a module and a program of that name."""
    content = io.BytesIO()
    info = f"{name}-1.0.dist-info"
    said = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr(f"{name}.py", "def main(): print('here')\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{said}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{info}/entry_points.txt", f"[console_scripts]\n{name.replace('_', '-')} = {name}:main\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return f"{name}-1.0-py3-none-any.whl", content.getvalue()


def _install(program: Path, constraints: str, *wheels: tuple[str, bytes]) -> subprocess.CompletedProcess[str]:
    program.mkdir()
    with tarfile.open(program / "package.tar", "w") as package:
        for name, content in (("constraints.txt", constraints.encode()), *wheels):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))
    return subprocess.run(
        [sys.executable, INSTALL, program, "1.0", "wheels", "as wanted"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def listed() -> tuple[tuple[str, bytes], str]:
    """A wheel, and the line of constraints for it."""
    name, content = _wheel("needed")
    other = hashlib.sha256(b"the same wheel for another machine").hexdigest()
    hashes = f"--hash=sha256:{other} --hash=sha256:{hashlib.sha256(content).hexdigest()}"
    return (name, content), f"needed==1.0 {hashes}\n"


def test_what_is_listed_is_installed_and_then_the_program(listed, tmp_path):
    needed, constraints = listed
    done = _install(tmp_path / "program", constraints, needed, _wheel("gpu_mesh", "needed"))
    assert (done.returncode, done.stdout, done.stderr) == (0, str(tmp_path / "program/venv.a"), "")
    for command in ("gpu-mesh", "needed"):
        assert subprocess.check_output([tmp_path / "program/venv.a/bin" / command], text=True) == "here\n"
    assert (tmp_path / "program/venv.a/installed").read_text() == "as wanted"


def test_a_file_that_is_not_the_one_that_is_listed_is_refused_and_nothing_is_left(listed, tmp_path):
    (name, content), constraints = listed
    program = tmp_path / "program"
    done = _install(program, constraints, (name, content + b"\0"), _wheel("gpu_mesh", "needed"))
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert f"needed==1.0 from file://{program}/packed/{name}" in done.stderr
    assert "Expected     or" not in done.stderr
    assert not (program / "venv.a").exists()


@pytest.mark.soak
def test_a_program_that_needs_what_is_not_listed_is_refused(listed, tmp_path):
    needed, constraints = listed
    done = _install(tmp_path / "program", constraints, needed, _wheel("gpu_mesh", "needed", "unheard-of"))
    assert done.returncode == 1
    assert "gpu-mesh 1.0 requires unheard-of, which is not installed." in done.stderr
    assert not (tmp_path / "program/venv.a").exists()
