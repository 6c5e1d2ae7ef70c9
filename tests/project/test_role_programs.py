"""The programs that roles/mesh_monitor runs: what is packed, and how the new takes the place of the old."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from gpu_mesh import __version__

FILES = ROOT / "roles/mesh_monitor/files"


def run(program: str, *arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FILES / program, *arguments],
        env={"HOME": str(home), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def swap(program: Path | str, inventory: Path | str, home: Path) -> None:
    done = run("swap.py", program, inventory, home=home)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_packages_version_is_the_programs() -> None:
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("wheel", "version", "said"),
    [
        (
            "gpu_mesh-0.0.1-py3-none-any.whl",
            "",
            f"no wheel of gpu-mesh {__version__}; make it: pip wheel --no",
        ),
        (
            f"gpu_mesh-{__version__}-py3-none-any.whl",
            "7.0",
            "no wheel of gpu-mesh 7.0; add it, or leave mesh_",
        ),
        ("requests-1.0-py3-none-any.whl", "", f"no wheel of gpu-mesh {__version__}; make it: pip wheel --no"),
    ],
)
def test_a_folder_without_the_wheel_that_is_wanted_is_refused(
    tmp_path: Path, wheel: str, version: str, said: str
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / wheel).touch()
    done = run("pack.py", ROOT, wheels, version, home=tmp_path)
    assert done.returncode == 1
    assert f"{wheels} holds {said}" in done.stderr
    assert list(tmp_path.iterdir()) == [wheels]


def test_a_package_has_a_folder_of_its_own_and_the_same_name_as_long_as_its_parts_are_the_same(
    tmp_path: Path,
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    packages = []
    for content in ("one", "one", "two"):
        (wheels / f"gpu_mesh-{__version__}-py3-none-any.whl").write_text(content)
        told = json.loads(run("pack.py", ROOT, wheels, "", home=tmp_path).stdout)
        assert told["version"] == __version__
        packages.append(Path(told["archive"]))
    first, again, other = packages
    assert first.name == again.name != other.name
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert {path.parent for path in packages} == {*tmp_path.iterdir()} - {wheels}
    assert len({path.parent for path in packages}) == 3


def _environment(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    (made / "whose").write_text(name)
    return made


def test_a_new_program_takes_the_place_of_the_old_one_which_stays(tmp_path: Path) -> None:
    for name in ("venv.a", "venv.b", "venv.a"):
        new = tmp_path / name
        swap(new if new.exists() else _environment(tmp_path, name), "", tmp_path)
        assert (tmp_path / "venv/whose").read_text() == name
    assert {path.name for path in tmp_path.iterdir()} == {"venv", "venv.a", "venv.b"}
    assert (tmp_path / "venv").readlink() == Path("venv.a")


def test_a_program_that_was_installed_as_a_folder_gives_way_to_a_link(tmp_path: Path) -> None:
    _environment(tmp_path, "venv")
    swap(_environment(tmp_path, "venv.a"), "", tmp_path)
    assert (tmp_path / "venv/whose").read_text() == "venv.a"
    assert {path.name for path in tmp_path.iterdir()} == {"venv", "venv.a"}


def test_a_new_inventory_takes_the_place_of_the_old_one_of_which_one_copy_stays(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    _environment(tmp_path, "inventory")
    for turn in ("first", "second"):
        (_environment(tmp_path, "inventory.new") / "whose").write_text(turn)
        before = (inventory / "whose").read_text()
        swap("", inventory, tmp_path)
        assert (inventory / "whose").read_text() == turn
        assert (tmp_path / "inventory.old/whose").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"inventory", "inventory.old"}
