"""Decides where strangers may find the mesh's Ollamas, and whether their versions differ. Pure.

Ollama has no login: whoever reaches its port may run, load and delete models. A node may be reached by the
monitor over a tunnel or a private network, and stand open at a public address of its host all the same.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Fault, Observation

_OLLAMA = 11434
_LOGIN = (401, 403, 407)  # the statuses of whoever asks for a login, or lets only some in


class Answers(StrEnum):
    """What a stranger gets at a door."""

    ALL = "all"  # the list of models: whoever reaches the address may use it
    SOME = "some"  # a login is asked for
    OTHER = "other"  # something answers that is not Ollama, or an error
    NOBODY = "nobody"  # nothing answers


class Door(Struct, frozen=True):
    """A public place at which a node's Ollama may answer."""

    node: str
    url: str


class Seen(Struct, frozen=True):
    """What came of asking at a door without the node's headers."""

    door: Door
    answers: Answers
    models: int = 0
    detail: str = ""


class Exposure(Struct, frozen=True):
    """What ``validate --exposure`` found."""

    seen: tuple[Seen, ...]
    versions: Mapping[str, tuple[str, ...]]  # the nodes with each version, the newest first
    silent: tuple[str, ...] = ()  # nodes that told no version

    @property
    def open(self) -> tuple[Seen, ...]:
        """The doors at which everybody is answered."""
        return tuple(each for each in self.seen if each.answers is Answers.ALL)

    @property
    def is_fine(self) -> bool:
        """Whether no door is open and all versions that are known are the same."""
        return not self.open and len(self.versions) <= 1


def is_public(address: str) -> bool:
    """Return whether an address can be reached from anywhere. Private, overlay and loopback ones cannot."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast


def hosts(mesh: Mesh) -> frozenset[str]:
    """Return the hosts whose addresses must be known for ``doors()``."""
    return frozenset(host for node in _watched(mesh) for host in _hosts(node))


def doors(mesh: Mesh, addresses: Mapping[str, Sequence[str]], own: Sequence[str]) -> tuple[Door, ...]:
    """Return the public places at which the nodes' Ollamas may answer.

    1. A node's own URL, if its host has a public address.
    2. The port of Ollama at the host to which ssh goes, for recovery or for the tunnel, if that is public.
    3. Of a node on the monitor: its port at the public addresses of this machine.

    Args:
        mesh: all nodes.
        addresses: of ``hosts()``.
        own: this machine's.
    """
    found = [
        Door(node.key, url)
        for node in _watched(mesh)
        for url in _urls(node, {host for host in _hosts(node) if any(map(is_public, addresses[host]))}, own)
    ]
    return tuple(dict.fromkeys(found))


def stranger(node: Node, door: Door) -> Node:
    """Return what a stranger would ask at a door: without the node's headers, and not through its tunnel."""
    return replace(node, key=door.url, url=door.url, headers={}, tunnel=None)


def judge(
    mesh: Mesh,
    found: Sequence[Door],
    at_doors: Mapping[str, Observation],
    at_nodes: Mapping[str, Observation],
) -> Exposure:
    """Judge what was seen.

    Args:
        mesh: all nodes.
        found: the doors.
        at_doors: what a stranger saw, by the door's URL.
        at_nodes: what the monitor saw, by node: it has their versions.
    """
    by_version: dict[str, list[str]] = {}
    silent = []
    for node in _watched(mesh):
        version = at_nodes[node.key].version
        if version:
            by_version.setdefault(version, []).append(node.key)
        else:
            silent.append(node.key)
    newest = sorted(by_version, key=_version_key, reverse=True)
    return Exposure(
        tuple(_seen(door, at_doors[door.url]) for door in found),
        {version: tuple(by_version[version]) for version in newest},
        tuple(silent),
    )


def _watched(mesh: Mesh) -> Iterator[Node]:
    return (node for node in mesh.nodes if node.enabled)


def _hosts(node: Node) -> Iterator[str]:
    if node.tunnel:
        yield node.tunnel.host
    elif host := urlsplit(node.url).hostname:
        yield host
    if not node.on_monitor:
        yield node.ssh_host or node.key


def _urls(node: Node, public: set[str], own: Sequence[str]) -> Iterator[str]:
    at_url = urlsplit(node.url).hostname or ""
    if node.on_monitor:
        yield from (_url(address, node.port) for address in own if is_public(address))
        return
    if not node.tunnel and at_url in public:
        yield node.url
    port = node.tunnel.remote_port if node.tunnel else _OLLAMA if node.has_proxy else node.port
    yield from (
        _url(host, port) for host in sorted(public) if node.tunnel or node.has_proxy or host != at_url
    )


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _seen(door: Door, seen: Observation) -> Seen:
    reply = seen.tags
    match reply.fault:
        case None:
            return Seen(door, Answers.ALL, len(seen.models))
        case Fault.STATUS if reply.status in _LOGIN:
            return Seen(door, Answers.SOME, detail=reply.detail)
        case Fault.STATUS | Fault.REDIRECT | Fault.NOT_JSON | Fault.TOO_LARGE | Fault.UNREADABLE | Fault.TLS:
            return Seen(door, Answers.OTHER, detail=reply.detail)
        case _:
            return Seen(door, Answers.NOBODY, detail=reply.detail)


def _version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Order versions by their numbers: 0.12.10 is newer than 0.12.9, and 0.12.0 than 0.12.0-rc1."""
    words = version.replace("-", ".-").split(".")
    return (*(((1, int(word), "") if word.isdecimal() else (-1, 0, word)) for word in words), (0, 0, ""))
