"""What is handed out: one version, a collection that is whole, an image that runs the program."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from gpu_mesh import __version__

BIN = Path(sys.executable).parent
NAME = "aurora.gpu_mesh"
PLAYS = [
    "site",
    "monitor",
    "nodes",
    "uninstall",
    "models",
    "recovery.restart_ollama",
    "recovery.rebuild_tunnel",
]


def test_the_version_stands_in_one_place_and_what_cannot_read_it_there_says_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    module = ROOT / project["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{__version__}"' in module.read_text(encoding="utf-8")
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"] == __version__


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """Build the collection, install it without a network, and return the folder of collections."""
    folder = tmp_path_factory.mktemp("collection")
    galaxy = [BIN / "ansible-galaxy", "collection"]
    environment = {**os.environ, "HOME": str(folder)}
    quiet = {"check": True, "capture_output": True, "env": environment, "cwd": folder}
    subprocess.run([*galaxy, "build", "--output-path", folder, ROOT], **quiet)
    (archive,) = folder.glob("*.tar.gz")
    assert archive.name == f"aurora-gpu_mesh-{__version__}.tar.gz"
    subprocess.run([*galaxy, "install", "--offline", "-p", folder / "there", archive], **quiet)
    return folder


def test_the_collection_holds_what_the_role_packs_and_nothing_of_the_developers(collection: Path) -> None:
    (archive,) = collection.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
    packer = (ROOT / "roles/mesh_monitor/files/pack.py").read_text(encoding="utf-8")
    sources = re.findall(r'"([^"]+)"', re.search(r"(?m)^SOURCES = \((.+)\)$", packer)[1])
    needed = {"constraints.txt"}
    for source in sources:
        paths = [path for path in (ROOT / source).rglob("*") if path.is_file()] or [ROOT / source]
        needed |= {str(path.relative_to(ROOT)) for path in paths if "__pycache__" not in path.parts}
    assert needed - names == set()
    strange = {name for name in names if re.match(r"(tests|bench|\.ci|\.venv|inventory|dist)/", name)}
    assert strange == set()
    assert not any("__pycache__" in name for name in names)


def test_the_plays_and_roles_of_the_collection_run_by_their_full_names(
    collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "mesh.yml").write_text(
        "mesh_monitors: {hosts: {monitor: {ansible_connection: local}}}\nmesh_nodes: {hosts: {desk: {}}}\n"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(collection / "there"),
    }
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", "mesh.yml", *(f"{NAME}.{play}" for play in PLAYS), "--list-tasks"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("playbook: ") == len(PLAYS)
    for role in ("mesh_cluster", "mesh_monitor", "mesh_node", "mesh_tunnel"):
        assert f"{NAME}.{role} : " in done.stdout
    # The role finds what it packs from where the collection lies.
    packer = collection / "there/ansible_collections/aurora/gpu_mesh/roles/mesh_monitor/files/pack.py"
    packed = subprocess.run(
        [sys.executable, packer, packer.parents[3], "", ""], capture_output=True, text=True, check=True
    )
    assert f'"version": "{__version__}"' in packed.stdout


IMAGE = (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_the_image_copies_what_is_there_runs_as_nobody_special_and_watches() -> None:
    for words in re.findall(r"(?m)^COPY (?!--from)(?:--\S+ )*(.+)$", IMAGE):
        *sources, _ = words.split()
        assert [source for source in sources if not (ROOT / source).exists()] == []
    users = re.findall(r"(?m)^USER (\S+)$", IMAGE)
    assert users
    assert int(users[-1]) > 0, "by number, for a host that must know it is not root"
    assert re.search(r'(?m)^(?:ENTRYPOINT|CMD) \["gpu-mesh", "run"\]$', IMAGE)
    assert "--require-hashes" in IMAGE
