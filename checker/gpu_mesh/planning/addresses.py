"""Decides at which addresses a look asks for a node's Ollama, on the node's own host. Pure.

The monitor may not reach Ollama directly: a tunnel, a proxy or a mapped port may be in between.
"""

from urllib.parse import SplitResult, urlsplit

from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind

OWN_PORT = 11434
"""Ollama's default port."""

_HTTP_PORT = 80
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def of_ollama(node: Node, mesh: Mesh) -> tuple[str, ...]:
    """Return where to ask for the node's Ollama on its own host, each as ``HOST:PORT`` and only once.

    1. Behind a tunnel: at the tunnel's other end.
    2. Otherwise at the port of its URL, unless that is https, which Ollama does not speak.
    3. Both on loopback and at the host's name or address: Ollama may listen only there.
    4. If a proxy or a mapped port may be in front of Ollama, also at its default port on loopback.

    Args:
        node: the node.
        mesh: all nodes: the Ollama at the default port may be that of another node.
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
    """Return whether the node's Ollama may be at the default port, behind the port of the URL.

    If several Ollamas share a host, the one at the default port says nothing about the others. A node may be
    one of the others if it names a unit or container of its own; or if a command restarts it, and it is on
    the monitor or shares its address with a node of the mesh at the default port.
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
    """Return whether a node of the mesh is at the default port of the same address."""
    at = url.netloc.removesuffix(f":{url.port}")
    return any(each.url == f"{url.scheme}://{at}:{OWN_PORT}" for each in mesh.nodes)
