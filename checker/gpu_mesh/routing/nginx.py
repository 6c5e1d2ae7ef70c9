"""Writes nginx's configuration for a mesh, for those who run their own: a file for ``http {}``. Pure.

It was tried with nginx 1.22.
"""

from collections.abc import Iterator

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.inventory.host_names import authority
from gpu_mesh.routing import backends
from gpu_mesh.routing.backends import HTTP_PORT, LeftOut

_SERVER = """\
server {{
    listen {listen};
    client_max_body_size 0; # images are part of a request
    location / {{
        proxy_pass http://gpu_mesh;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host localhost; # an Ollama that listens on loopback refuses other names
        proxy_buffering off; # each token goes on at once
        proxy_connect_timeout 5s;
        proxy_read_timeout 1h; # a model is loaded first, and without streaming nothing comes before the end
        proxy_send_timeout 1h;
        proxy_next_upstream error; # what was sent is never sent twice: nginx knows that a POST may not be
    }}
}}
"""


def config(mesh: Mesh, *, elsewhere: bool) -> str:
    """Return the configuration.

    Args:
        mesh: the nodes, and what is listened at.
        elsewhere: whether it is for another host than the monitor: without the nodes behind tunnels.
    """
    nodes, left_out = backends.chosen(mesh, elsewhere=elsewhere)
    plain = tuple(node for node in nodes if not _wants_more(node))
    more = tuple(
        LeftOut(node.key, "nginx sends all nodes the same path and headers, without TLS; use HAProxy")
        for node in nodes
        if _wants_more(node)
    )
    settings = mesh.settings
    listen = authority(settings.haproxy_address, settings.haproxy_port)
    return "\n".join((*_upstream(plain, (*left_out, *more)), "", _SERVER.format(listen=listen)))


def _upstream(nodes: tuple[Node, ...], left_out: tuple[LeftOut, ...]) -> Iterator[str]:
    yield "# nginx in front of the mesh, made by gpu-mesh export nginx from the inventory."
    yield "# It learns of a failure only from requests that fail, and knows of no drain and no score."
    yield from (f"# Left out is {each.node}: {each.why}." for each in left_out)
    yield "upstream gpu_mesh {"
    yield "    zone gpu_mesh 128k;"
    yield "    least_conn;"
    for node in nodes:
        address = authority(backends.host_of(node), node.port)
        yield f"    server {address} max_fails=2 fail_timeout=10s; # {node.key}"
    if not nodes:
        yield "    server 127.0.0.1:1 down; # there is no node, and nginx wants one"
    yield "}"


def _wants_more(node: Node) -> bool:
    return node.has_proxy or bool(node.headers) or node.port == HTTP_PORT
