"""What several tests of recoveries share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

import private_sshd
from checkout import PROGRAMS
from gpu_mesh.planning import addresses
from gpu_mesh.standin.server import free_port


@pytest.fixture(autouse=True)
def own_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A default port of Ollama for each test: at 11434 this machine, or a test beside it, may have one."""
    monkeypatch.setattr(addresses, "OWN_PORT", port := free_port())
    return port


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


@pytest.fixture
def inventory(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """A function that writes an inventory of nodes with these connection variables."""

    def write(**nodes: dict[str, Any]) -> tuple[str, ...]:
        path = tmp_path / "inventory.yml"
        monitors = {"hosts": {"monitor": {"ansible_connection": "local"}}}
        path.write_text(yaml.safe_dump({"mesh_monitors": monitors, "mesh_nodes": {"hosts": nodes}}))
        return (str(path),)

    return write


class Sshd(msgspec.Struct):
    """A private sshd on loopback, and the connection variables that reach it."""

    variables: dict[str, Any]
    folder: Path


@pytest.fixture
def sshd(tmp_path: Path, closed_port: int) -> Iterator[Sshd]:
    if not private_sshd.PROGRAM.exists():
        pytest.skip("no sshd here")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    known = folder / "known"
    with private_sshd.serving(folder, closed_port):
        yield Sshd(
            {
                "ansible_host": "127.0.0.1",
                "ansible_port": closed_port,
                "ansible_ssh_private_key_file": str(folder / "user"),
                "ansible_ssh_use_tty": False,  # an sshd that is not root's has none to give
                "ansible_ssh_common_args": f"-F none -o IdentitiesOnly=yes -o UserKnownHostsFile={known}",
            },
            folder,
        )
