"""Writes HAProxy's configuration for a mesh: for the role, and for those who run their own. Pure.

All sections take their defaults from one with a name, and none is ``global``: so the text can stand beside
another configuration. It was tried with HAProxy 2.6.
"""

import ipaddress
from collections.abc import Iterator, Mapping

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.inventory.host_names import authority
from gpu_mesh.routing import agent, backends
from gpu_mesh.routing.backends import HTTP_PORT, LeftOut
from gpu_mesh.text.file_names import safe_name

HEADER = "X-Gpu-Mesh-Model"
"""The header by which a request chooses its model."""

_DEFAULTS = """\
defaults gpu-mesh
  mode http
  log global
  # Of requests only those that failed are logged, with neither header nor body.
  option dontlog-normal
  timeout connect 5s
  # A generation may be silent for long: a model is loaded first, or nothing is streamed.
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  timeout http-request 30s
  timeout http-keep-alive 1m
  # A host that is gone without a word is noticed; so is who asks and goes away, whose generation then ends.
  option clitcpka
  option srvtcpka
  option abortonclose
  # Each token goes on at once. Each request has a connection of its own: none meets one just closed.
  option http-no-delay
  option http-server-close
  no option http-buffer-request
  # What could not be connected is tried at another node at once. What was sent is never sent twice.
  retries 3
  option redispatch 1
  retry-on conn-failure
  # Two failed checks and a node gets no more requests; what it works on is never cut off.
  timeout check 2s
  default-server inter 2s fastinter 1s fall 2 rise 1 weight 100 init-addr libc,none
"""


def _error(words: str) -> str:
    """Return an answer as Ollama gives it, for programs show it to people."""
    return f"""content-type application/json string '{{"error":"gpu-mesh: {words}"}}'"""


_BALANCE = (
    "  balance leastconn",
    "  # An Ollama that listens on loopback refuses the names of other hosts.",
    "  http-request set-header Host localhost",
    f"  http-error status 503 {_error('no node takes requests for this now; see gpu-mesh status')}",
)


def config(mesh: Mesh, models_of: Mapping[str, frozenset[str]] | None = None) -> str:
    """Return the configuration.

    Args:
        mesh: the nodes, and what HAProxy listens at.
        models_of: None: HAProxy runs on the monitor, which tells it of the nodes. Else it runs elsewhere,
            without the nodes behind tunnels, and these are the models of each node, by its key.
    """
    nodes, left_out = backends.chosen(mesh, elsewhere=models_of is not None)
    models = mesh.settings.haproxy_models
    sections = [
        _heading(left_out, nodes, elsewhere=models_of is not None),
        (_DEFAULTS.rstrip(), *(_agent_defaults(mesh) if models_of is None else ())),
        _frontend(mesh),
        *(_port(mesh, model, port) for model, port in models.items() if port),
        _backend(mesh, nodes, told=models_of is None),
        *(_model(mesh, nodes, model, models_of) for model in models),
        *(_hop(mesh, node) for node in nodes if _needs_hop(node)),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _heading(left_out: tuple[LeftOut, ...], nodes: tuple[Node, ...], *, elsewhere: bool) -> Iterator[str]:
    yield "# HAProxy in front of the mesh, made by gpu-mesh export haproxy from the inventory."
    if elsewhere:
        yield "# For another host than the monitor: only HAProxy's own checks decide, and no node drains."
    yield from (f"# Left out is {each.node}: {each.why}." for each in left_out)
    if elsewhere:
        yield from (
            f"# {node.key} is checked with {node.ca_file}, which must be on HAProxy's host, too."
            for node in nodes
            if node.ca_file
        )


def _agent_interval(mesh: Mesh) -> int:
    """Return the seconds between two questions about a node: 2, or more in a large mesh.

    Each question starts a shell, some 10 ms of CPU: so no more than ten are asked in a second. But
    what the monitor says is heard within a minute, for a node drains that long before a repair.
    """
    questions = len(mesh.nodes) * (1 + len(mesh.settings.haproxy_models))
    return min(60, max(2, questions // 10))


def _agent_defaults(mesh: Mesh) -> Iterator[str]:
    yield "  # What the monitor says of a node: its weight, or that it drains."
    port = mesh.settings.haproxy_agent_port
    every = _agent_interval(mesh)
    yield f"  default-server agent-addr 127.0.0.1 agent-port {port} agent-inter {every}s"


def _frontend(mesh: Mesh) -> Iterator[str]:
    settings = mesh.settings
    yield "frontend gpu-mesh from gpu-mesh"
    yield f"  bind {authority(settings.haproxy_address, settings.haproxy_port)}"
    for model in settings.haproxy_models:
        names = " ".join(dict.fromkeys((model, model.removesuffix(":latest"))))
        yield f"  use_backend {_of_model(model)} if {{ req.hdr({HEADER}) -m str -i {names} }}"
    yield f"  use_backend gpu-mesh:unknown if {{ req.hdr({HEADER}) -m found }}"
    yield "  default_backend gpu-mesh:any"
    yield ""
    yield "backend gpu-mesh:unknown from gpu-mesh"
    yield f"  http-request return status 404 {_error('mesh_monitor_haproxy_models has no such model')}"


def _port(mesh: Mesh, model: str, port: int) -> Iterator[str]:
    yield f"frontend gpu-mesh:port:{port} from gpu-mesh"
    yield f"  bind {authority(mesh.settings.haproxy_address, port)}"
    yield f"  default_backend {_of_model(model)}"


def _backend(mesh: Mesh, nodes: tuple[Node, ...], *, told: bool) -> Iterator[str]:
    yield "backend gpu-mesh:any from gpu-mesh"
    yield from _BALANCE
    yield "  option httpchk"
    yield "  http-check send meth GET uri /api/version ver HTTP/1.1 hdr Host localhost"
    for node in nodes:
        yield f"  server {node.key} {_address(mesh, node)} check{_agent(node, '') if told else ''}"


def _model(
    mesh: Mesh, nodes: tuple[Node, ...], model: str, models_of: Mapping[str, frozenset[str]] | None
) -> Iterator[str]:
    """Return the backend of a model. Whether a node is up is found out once, for all backends."""
    yield f"backend {_of_model(model)} from gpu-mesh"
    yield from _BALANCE
    for node in nodes:
        server = f"  server {node.key} {_address(mesh, node)} track gpu-mesh:any/{node.key}"
        if models_of is None:
            yield server + _agent(node, model)
        elif model in models_of.get(node.key, ()):
            yield server


def _agent(node: Node, model: str) -> str:
    return f' agent-check agent-send "{agent.file_name(node.key, model)}\\n"'


def _hop(mesh: Mesh, node: Node) -> Iterator[str]:
    """Return a proxy for one node: in a backend, all servers get the same headers and the same path."""
    yield f"listen gpu-mesh:node:{node.key} from gpu-mesh"
    yield f"  bind {_address(mesh, node)}"
    yield f"  http-request set-header Host {backends.origin_of(node)}"
    for name, value in node.headers.items():
        yield f"  http-request set-header {name} {_format(value)}"
    if node.prefix:
        yield f"  http-request set-path {_format(node.prefix)}%[path]"
    host = backends.host_of(node)
    tls = ""
    if node.url.startswith("https:"):
        tls = f" ssl verify required ca-file {_quoted(node.ca_file) if node.ca_file else '@system-ca'}"
        if not _is_address(host):
            tls += f" sni str({host}) verifyhost {host}"
    yield f"  server {node.key} {authority(host, node.port)}{tls}"


def _needs_hop(node: Node) -> bool:
    """Return whether something stands before Ollama that wants its own name, a path or a header."""
    return node.has_proxy or bool(node.headers) or node.port == HTTP_PORT


def _address(mesh: Mesh, node: Node) -> str:
    if _needs_hop(node):  # a socket without a file, which belongs to this HAProxy: its port is in the name
        return f"abns@gpu-mesh/{mesh.settings.haproxy_port}/{safe_name(node.key, 60)}"
    return authority(backends.host_of(node), node.port)


def _of_model(model: str) -> str:
    return f"gpu-mesh:model:{model.replace('/', '::')}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _format(text: str) -> str:
    """Return a text where HAProxy expects one with variables in it."""
    return _quoted(text.replace("%", "%%"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
