"""At which addresses a look asks for Ollama on a node's own host: one row a kind of node."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Tunnel
from gpu_mesh.planning.addresses import of_ollama

SYSTEMD, USER, DOCKER = RecoveryKind.SYSTEMD, RecoveryKind.SYSTEMD_USER, RecoveryKind.DOCKER
COMMAND, NONE = RecoveryKind.COMMAND, RecoveryKind.NONE


class Row(NamedTuple):
    """A kind of node, and where its Ollama is asked for."""

    kind: str
    url: str
    addresses: str
    fields: Mapping[str, Any] | None = None
    sisters: tuple[str, ...] = ()  # URLs of other nodes
    shared: bool = False  # whether the other nodes are on the same host


def command(**more: Any) -> dict[str, Any]:
    return {"recovery": COMMAND, "recovery_command": "true", **more}


def tunnel(remote_host: str = "127.0.0.1", remote_port: int = 11434) -> dict[str, Any]:
    return {"tunnel": Tunnel("pod", 8080, remote_host, remote_port)}


ROWS = [
    Row("plain", "http://gpu1:11434", "127.0.0.1:11434 gpu1:11434"),
    Row("plain, by address", "http://10.0.0.7:11434", "127.0.0.1:11434 10.0.0.7:11434"),
    Row("on the monitor", "http://127.0.0.1:11434", "127.0.0.1:11434", {"on_monitor": True}),
    Row("by the name of loopback", "http://localhost:11434", "127.0.0.1:11434", {"on_monitor": True}),
    Row("by the other loopback", "http://[::1]:11434", "127.0.0.1:11434", {"on_monitor": True}),
    Row("IPv6", "http://[fd00::7]:11434", "127.0.0.1:11434 [fd00::7]:11434"),
    Row("a name in capitals", "http://GPU1:11434", "127.0.0.1:11434 gpu1:11434"),
    # A path prefix is a proxy's: Ollama itself has none.
    Row(
        "below a path",
        "http://gpu1/ollama",
        "127.0.0.1:80/ollama gpu1:80/ollama 127.0.0.1:11434",
    ),
    Row(
        "below a path at a port, whatever its unit",
        "http://gpu1:8000/a/b",
        "127.0.0.1:8000/a/b gpu1:8000/a/b 127.0.0.1:11434",
        {"unit": "ollama-2.service"},
    ),
    Row(
        "below a path at Ollama's own port: the proxy has the address, Ollama loopback",
        "http://gpu1:11434/ollama",
        "127.0.0.1:11434/ollama gpu1:11434/ollama 127.0.0.1:11434",
    ),
    Row("https below a path", "https://gpu1/ollama", "127.0.0.1:11434"),
    Row(
        "a proxy in front of other hosts, too",
        "http://gateway/gpu1",
        "127.0.0.1:80/gpu1 gateway:80/gpu1 127.0.0.1:11434",
        {"unit": "mine.service"},
        ("http://gateway/gpu2",),
    ),
    Row(
        "several Ollamas of one host behind one proxy",
        "http://gpu1/b",
        "127.0.0.1:80/b gpu1:80/b",
        {"unit": "ollama-2.service"},
        ("http://gpu1/a",),
        shared=True,
    ),
    Row(
        "of these the one with Ollama's own unit",
        "http://gpu1/a",
        "127.0.0.1:80/a gpu1:80/a 127.0.0.1:11434",
        None,
        ("http://gpu1/b",),
        shared=True,
    ),
    Row(
        "of these one with a command",
        "http://gpu1/a",
        "127.0.0.1:80/a gpu1:80/a",
        command(),
        ("http://gpu1/b",),
        shared=True,
    ),
    Row(
        "below a path through a tunnel",
        "http://127.0.0.1:8080/ollama",
        "127.0.0.1:8000/ollama 127.0.0.1:11434",
        tunnel(remote_port=8000),
    ),
    Row(
        "below a path through a tunnel to another host",
        "http://127.0.0.1:8080/ollama",
        "127.0.0.1:80/ollama 10.0.0.7:80/ollama 127.0.0.1:11434",
        tunnel("10.0.0.7", 80),
    ),
    # Something may stand in front of Ollama.
    Row("https, which is never Ollama's own", "https://gpu1", "127.0.0.1:11434"),
    Row("https at a port", "https://gpu1:8443", "127.0.0.1:11434", {"unit": "ollama-2.service"}),
    Row("http without a port", "http://gpu1", "127.0.0.1:80 gpu1:80 127.0.0.1:11434"),
    Row(
        "port 80, whatever its unit",
        "http://gpu1:80",
        "127.0.0.1:80 gpu1:80 127.0.0.1:11434",
        {"unit": "ollama-2.service"},
    ),
    Row(
        "port 80 without a recovery",
        "http://gpu1:80",
        "127.0.0.1:80 gpu1:80 127.0.0.1:11434",
        {"recovery": NONE},
    ),
    Row("another port", "http://gpu1:8000", "127.0.0.1:8000 gpu1:8000 127.0.0.1:11434"),
    Row("IPv6 without a port", "http://[fd00::7]", "127.0.0.1:80 [fd00::7]:80 127.0.0.1:11434"),
    # Several Ollamas share a host.
    Row("a unit of its own", "http://gpu1:8000", "127.0.0.1:8000 gpu1:8000", {"unit": "ollama-2.service"}),
    Row("a user's unit", "http://gpu1:8000", "127.0.0.1:8000 gpu1:8000 127.0.0.1:11434", {"recovery": USER}),
    Row(
        "a user's unit of its own",
        "http://gpu1:8000",
        "127.0.0.1:8000 gpu1:8000",
        {"recovery": USER, "unit": "mine.service"},
    ),
    Row("docker", "http://gpu1:8000", "127.0.0.1:8000 gpu1:8000 127.0.0.1:11434", {"recovery": DOCKER}),
    Row(
        "a container of its own",
        "http://gpu1:8000",
        "127.0.0.1:8000 gpu1:8000",
        {"recovery": DOCKER, "container": "ollama-2"},
    ),
    Row(
        "docker, whatever the unit's name",
        "http://gpu1:8000",
        "127.0.0.1:8000 gpu1:8000 127.0.0.1:11434",
        {"recovery": DOCKER, "unit": "ollama-2.service"},
    ),
    Row("nobody repairs it", "http://gpu1:8000", "127.0.0.1:8000 gpu1:8000", {"recovery": NONE}),
    # With a command, as on a rented pod whose ports are mapped.
    Row("command", "http://pod:11434", "127.0.0.1:11434 pod:11434", command()),
    Row(
        "command at a mapped port", "http://pod:40022", "127.0.0.1:40022 pod:40022 127.0.0.1:11434", command()
    ),
    Row("command on the monitor", "http://127.0.0.1:8000", "127.0.0.1:8000", command(on_monitor=True)),
    Row(
        "command, and a sister at 11434",
        "http://pod:40022",
        "127.0.0.1:40022 pod:40022",
        command(),
        ("http://pod:11434",),
    ),
    Row(
        "command, and a sister at 11434 over IPv6",
        "http://[fd00::7]:40022",
        "127.0.0.1:40022 [fd00::7]:40022",
        command(),
        ("http://[fd00::7]:11434",),
    ),
    Row(
        "command, and nodes that are no sisters",
        "http://pod:40022",
        "127.0.0.1:40022 pod:40022 127.0.0.1:11434",
        command(),
        ("http://pod:11435", "http://other:11434", "https://pod:11434"),
    ),
    Row(
        "a sister says nothing where the unit is Ollama's own",
        "http://gpu1:8000",
        "127.0.0.1:8000 gpu1:8000 127.0.0.1:11434",
        None,
        ("http://gpu1:11434",),
    ),
    # Through a tunnel the URL is the monitor's end, and says nothing of Ollama's host.
    Row("tunnel to loopback", "http://127.0.0.1:8080", "127.0.0.1:11434", tunnel()),
    Row("tunnel to the name of loopback", "http://127.0.0.1:8080", "127.0.0.1:11434", tunnel("localhost")),
    Row("tunnel to another port", "http://127.0.0.1:8080", "127.0.0.1:8000", tunnel(remote_port=8000)),
    Row(
        "tunnel to another host",
        "http://127.0.0.1:8080",
        "127.0.0.1:11434 10.0.0.7:11434",
        tunnel("10.0.0.7"),
    ),
    Row(
        "tunnel to another host over IPv6",
        "http://127.0.0.1:8080",
        "127.0.0.1:8000 [fd00::7]:8000",
        tunnel("fd00::7", 8000),
    ),
    Row("tunnel to port 80", "http://127.0.0.1:8080", "127.0.0.1:80", tunnel(remote_port=80)),
    Row("https through a tunnel", "https://127.0.0.1:8080", "127.0.0.1:8000", tunnel(remote_port=8000)),
    Row(
        "command behind a tunnel",
        "http://127.0.0.1:8080",
        "127.0.0.1:8000",
        command(**tunnel(remote_port=8000)),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.kind)
def test_ollama_is_asked_where_it_may_listen_on_its_own_host(row: Row) -> None:
    node = Node("gpu1", "GPU one", row.url, **(row.fields or {}))
    host = "gpu1" if row.shared else ""
    others = (Node(f"sister{number}", "Sister", url, ssh_host=host) for number, url in enumerate(row.sisters))
    assert of_ollama(node, Mesh((node, *others))) == tuple(row.addresses.split())
