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
    """Return where to ask for this node's Ollama on its own host, as ``HOST:PORT``, each once.

    1. Behind a tunnel: at the tunnel's other end.
    2. Else at the port of its URL, unless that is https, which Ollama does not speak.
    3. Each on loopback, and at the host's own name or address, because Ollama may listen only there.
    4. Also at Ollama's default port on loopback, where a proxy or a mapped port may be in front of it.

    Args:
        node: the node.
        mesh: all nodes, because another one may be the Ollama at the default port.
    """
    url = urlsplit(node.url)
    if node.tunnel:
        return _both(node.tunnel.remote_host, node.tunnel.remote_port)
    port = url.port or _HTTP_PORT
    asked = () if url.scheme == "https" else _both(url.hostname or "", port)
    own = _both("localhost", OWN_PORT) if _may_be_behind(node, url, port, mesh) else ()
    return tuple(dict.fromkeys(asked + own))


def _both(host: str, port: int) -> tuple[str, ...]:
    """Return the port on loopback, and on the host if that is not loopback."""
    here = f"127.0.0.1:{port}"
    there = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return (here,) if host in _LOOPBACK else (here, there)


def _may_be_behind(node: Node, url: SplitResult, port: int, mesh: Mesh) -> bool:
    """Return whether the node's Ollama may be at Ollama's default port, behind the port of the URL.

    Where several Ollamas share a host, the one at the default port says nothing about the others. So the
    answer is no for a node with a unit or container name of its own; and for one with a recovery command
    that is on the monitor's own host, or that has another node at the default port of its address.
    """
    if url.scheme == "https" or port == _HTTP_PORT:
        return True
    match node.recovery:
        case RecoveryKind.SYSTEMD | RecoveryKind.SYSTEMD_USER:
            return node.unit == "ollama.service"
        case RecoveryKind.DOCKER:
            return node.container == "ollama"
        case RecoveryKind.COMMAND:
            return not node.on_monitor and not _has_sister(url, mesh)
        case RecoveryKind.NONE:
            return False


def _has_sister(url: SplitResult, mesh: Mesh) -> bool:
    """Return whether a node of the mesh is at Ollama's default port of the same address."""
    return any(
        (at.scheme, at.hostname, at.port) == (url.scheme, url.hostname, OWN_PORT)
        for at in (urlsplit(each.url) for each in mesh.nodes)
    )
