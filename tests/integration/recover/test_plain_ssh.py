"""Looks by ssh alone, over a real ssh server on loopback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from factories import plain
from gpu_host import FUNCTIONS
from gpu_mesh.domain.mesh import Login, Node
from gpu_mesh.hosts import plain_ssh
from gpu_mesh.inventory import ansible_reader


@pytest.fixture
def nodes(inventory: Callable[..., tuple[str, ...]], sshd: Any) -> dict[str, Node]:
    """Nodes as the inventory describes them: two behind the server, one of which only Ansible can reach."""
    sources = inventory(gpu1=sshd.variables, gpu2={**sshd.variables, "ansible_password": "x"})
    reading = ansible_reader.read(sources)
    assert reading.mesh is not None
    return {node.key: node for node in reading.mesh.nodes}


def test_a_script_runs_on_the_host_as_the_inventory_says_how_to_log_in(nodes: dict[str, Node]) -> None:
    node = nodes["gpu1"]
    assert plain_ssh.run([node], {"gpu1": b"echo one; echo two >&2; exit 3\n"}, 5) == {"gpu1": "one\n"}


def test_a_node_that_needs_more_than_ssh_is_left_to_ansible(nodes: dict[str, Node]) -> None:
    assert nodes["gpu2"].login is None


def test_the_look_fits_into_a_pipe_so_that_handing_it_over_waits_for_nothing() -> None:
    assert len(FUNCTIONS.encode()) < 60_000, "a pipe holds 64 KiB (pipe(7))"


def test_what_ssh_cannot_log_in_to_is_left_out(nodes: dict[str, Node], closed_port: int, sshd: Any) -> None:
    node = nodes["gpu1"]
    assert node.login is not None
    stranger = replace(node, key="b", login=replace(node.login, key_file=str(sshd.folder / "stranger")))
    nobody = plain("c", ssh_host="127.0.0.1", ssh_port=1, login=Login())
    scripts = dict.fromkeys(("gpu1", "b", "c"), b"echo ok\n")
    assert plain_ssh.run([node, stranger, nobody], scripts, 5) == {"gpu1": "ok\n"}


def test_a_host_that_prints_without_end_is_cut_off(nodes: dict[str, Node]) -> None:
    (printed,) = plain_ssh.run([nodes["gpu1"]], {"gpu1": b"yes\n"}, 30).values()
    assert len(printed) == plain_ssh.MOST


def test_a_host_that_hangs_is_left_and_delays_no_other(
    nodes: dict[str, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_ssh, "_CONNECTS", 8.0)
    node = nodes["gpu1"]
    # Who waits for the first one's end is ended by the test's own time limit.
    scripts = {"gpu1": b"echo so far; sleep 600\n", "b": b"echo ok\n"}
    assert plain_ssh.run([node, replace(node, key="b")], scripts, 1) == {"gpu1": "so far\n", "b": "ok\n"}


def test_it_ends_when_the_monitor_is_to_stop(nodes: dict[str, Node], tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    script = f"touch {begun}; sleep 60\n".encode()
    assert plain_ssh.run([nodes["gpu1"]], {"gpu1": script}, 60, stop=begun.exists) == {}
