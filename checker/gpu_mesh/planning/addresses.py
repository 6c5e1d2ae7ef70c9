"""Decides at which addresses a look asks for a node's Ollama, on the node's own host. Pure.

The monitor may not ask Ollama directly: a tunnel, a proxy or a mapped port may be in between.
"""

from urllib.parse import SplitResult, urlsplit

from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind

OWN_PORT = 11434
"""Ollama's default port."""

_HTTP_PORT = 80
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def of_ollama(node: Node, mesh: Mesh) -> tuple[str, ...]:
    """Return where to ask for this node's Ollama on its own host, as ``HOST:PORT`` or ``HOST:PORT/PREFIX``.

    1. Behind a tunnel: at the tunnel's other end, with the path prefix of the URL.
    2. Else at the port of its URL, with its prefix, unless that is https, which Ollama does not speak.
    3. Each on loopback, and at the host's own name or address, because Ollama may listen only there.
    4. Also at Ollama's default port on loopback, where a proxy or a mapped port may be in front of it. There
       it has no prefix: that is the proxy's.

    Args:
        node: the node.
        mesh: all nodes, because another one may be the Ollama at the default port.
    """
    url = urlsplit(node.url)
    host, port = _front(node, url)
    asked = () if url.scheme == "https" and not node.tunnel else _both(host, port, node.prefix)
    own = _both("localhost", OWN_PORT) if _may_be_behind(node, url, port, mesh) else ()
    return tuple(dict.fromkeys(asked + own))


def _front(node: Node, url: SplitResult) -> tuple[str, int]:
    """Return the host and port, as Ollama's host sees them, that the monitor's requests reach."""
    if node.tunnel:
        return node.tunnel.remote_host, node.tunnel.remote_port
    return url.hostname or "", url.port or _HTTP_PORT


def _both(host: str, port: int, prefix: str = "") -> tuple[str, ...]:
    """Return the port on loopback, and on the host if that is not loopback."""
    here = f"127.0.0.1:{port}{prefix}"
    there = f"[{host}]:{port}{prefix}" if ":" in host else f"{host}:{port}{prefix}"
    return (here,) if host in _LOOPBACK else (here, there)


def _may_be_behind(node: Node, url: SplitResult, port: int, mesh: Mesh) -> bool:
    """Return whether the node's Ollama may be at Ollama's default port, behind what answers at the URL.

    Where several Ollamas share a host, the one at the default port says nothing about the others. So the
    answer is no for a node with a unit or container name of its own; and for one with a recovery command
    that is on the monitor's own host, or that has another node at the default port of its address. Where a
    proxy is certain, the names do not matter, unless it has several Ollamas of the host behind it.
    """
    if node.tunnel and not node.prefix:
        return False
    shared = _shares_its_proxy(node, mesh)
    if (node.has_proxy or port == _HTTP_PORT) and not shared:
        return True
    match node.recovery:
        case RecoveryKind.SYSTEMD | RecoveryKind.SYSTEMD_USER:
            return node.unit == "ollama.service"
        case RecoveryKind.DOCKER:
            return node.container == "ollama"
        case RecoveryKind.COMMAND:
            return not shared and not node.on_monitor and not _has_sister(url, mesh)
        case RecoveryKind.NONE:
            return False


def _shares_its_proxy(node: Node, mesh: Mesh) -> bool:
    """Return whether another node of the same host is reached at the same place, by another prefix."""
    front = _front(node, urlsplit(node.url))
    return any(
        _front(each, urlsplit(each.url)) == front and each.prefix != node.prefix
        for each in mesh.nodes
        if (each.on_monitor and node.on_monitor) or each.known_host == node.known_host
    )


def _has_sister(url: SplitResult, mesh: Mesh) -> bool:
    """Return whether a node of the mesh is at Ollama's default port of the same address."""
    return any(
        (at.scheme, at.hostname, at.port) == (url.scheme, url.hostname, OWN_PORT)
        for at in (urlsplit(each.url) for each in mesh.nodes)
    )
