"""Decides which nodes a load balancer can send requests to, and why not to the others. Pure."""

from urllib.parse import urlsplit

from msgspec import Struct

from gpu_mesh.domain.mesh import Mesh, Node

HTTP_PORT = 80
"""Something else than Ollama listens there, and may want its own name as ``Host``."""

_LOOPBACK = ("127.", "localhost", "::1")


class LeftOut(Struct, frozen=True):
    """A node that gets no requests."""

    node: str  # key
    why: str


def chosen(mesh: Mesh, *, elsewhere: bool) -> tuple[tuple[Node, ...], tuple[LeftOut, ...]]:
    """Return the nodes that can get requests, and those that cannot.

    Args:
        mesh: the nodes.
        elsewhere: whether the load balancer is on another host than the monitor.
    """
    reasons = {node.key: _why_not(node, elsewhere=elsewhere) for node in mesh.nodes}
    return (
        tuple(node for node in mesh.nodes if not reasons[node.key]),
        tuple(LeftOut(key, why) for key, why in reasons.items() if why),
    )


def host_of(node: Node) -> str:
    """Return the host of the node's URL, an IPv6 address without brackets."""
    return urlsplit(node.url).hostname or ""


def origin_of(node: Node) -> str:
    """Return host and port of the node's URL as its ``Host`` header has them."""
    return urlsplit(node.url).netloc


def _why_not(node: Node, *, elsewhere: bool) -> str:
    if not node.enabled:
        return "it is disabled"
    if secret := next((name for name, value in node.headers.items() if value.startswith("@")), ""):
        return f"it wants the header {secret}, and a secret is not printed"
    if elsewhere and node.tunnel:
        return "it is reached through a tunnel of the monitor"
    if elsewhere and host_of(node).startswith(_LOOPBACK):
        return "its URL is the monitor's loopback; give it a mesh_node_url that others reach"
    return ""
