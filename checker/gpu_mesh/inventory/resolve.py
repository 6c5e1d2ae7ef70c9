"""Decides which Mesh an inventory describes, or finds every mistake in it; for ansible_reader.py. Pure."""

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from gpu_mesh.domain.mesh import (
    Cluster,
    GpuRecovery,
    GpuRule,
    Login,
    Mesh,
    Node,
    RecoveryKind,
    Settings,
    Tunnel,
)
from gpu_mesh.inventory.host_names import authority, host_with_port, is_host, without_brackets
from gpu_mesh.inventory.mistakes import Mistake
from gpu_mesh.inventory.value_types import TEXT, ShapeError, quoted
from gpu_mesh.inventory.variables import ROLE_VARIABLES, VARIABLES, is_known
from gpu_mesh.text.suggest import did_you_mean, nearest

MONITORS, NODES = "mesh_monitors", "mesh_nodes"
OLLAMA_PORT = 11434
SSH_PORT = 22
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # other letters may form a pattern in a playbook's limit
_SIMILAR = 0.9  # one wrong letter: mesh_node, mesh-nodes; not mesh_nodes_north
_ANSIBLES = frozenset({"ansible_host", "ansible_port", "ansible_connection", "ansible_user"})
_OF_ALL_HOSTS = frozenset({"all", "ungrouped"})


class RawVariable(Struct, frozen=True):
    """A variable as the inventory gives it."""

    value: Any = None  # None or "": not given
    place: str = ""  # file:line
    error: str = ""  # why there is no value, in words that follow the variable's name


class RawHost(Struct, frozen=True):
    """A host as the inventory gives it: its ``mesh_*`` variables and those of its connection."""

    key: str
    groups: tuple[str, ...] = ()
    variables: dict[str, RawVariable] = {}


class _Host:
    """Reads a host's variables one by one, and collects the mistakes."""

    def __init__(self, raw: RawHost) -> None:
        self.raw = raw
        self.mistakes: list[Mistake] = []
        self._wrong: set[str] = set()

    @property
    def key(self) -> str:
        return self.raw.key

    def has(self, name: str) -> bool:
        """Return whether the variable is given, with a right or a wrong value."""
        variable = self.raw.variables.get(name)
        return variable is not None and (bool(variable.error) or variable.value not in (None, ""))

    def is_right(self, *names: str) -> bool:
        """Return whether none of the variables had a mistake, so that their values can be compared."""
        return self._wrong.isdisjoint(names)

    def blame(self, name: str, message: str, *, at: str = "") -> None:
        """Add a mistake in a variable. Its place is that of the variable ``at``, or its own."""
        place = self.raw.variables.get(at or name, RawVariable()).place
        self.mistakes.append(Mistake(message, self.key, name, place))
        self._wrong.add(name)

    def plain(self, name: str) -> str:
        """Return one of Ansible's own variables as text; "": it is not given, or its value is wrong."""
        if not self.has(name):
            return ""
        variable = self.raw.variables[name]
        try:
            if not variable.error:
                return str(TEXT.read(variable.value))
        except ShapeError as problem:
            error = TEXT.wrong(variable.value, problem)
        else:
            error = variable.error
        if self.is_right(name):  # the variable is read more than once: report its mistake once
            self.blame(name, error)
        return ""

    def fields(self, prefix: str) -> dict[str, Any]:
        """Read every given variable with this prefix; return the values by field of the struct."""
        given = {}
        for name in self.raw.variables:
            known = VARIABLES.get(name)
            if known is None or known.prefix != prefix or not self.has(name):
                continue
            variable = self.raw.variables[name]
            if variable.error:
                self.blame(name, variable.error)
                continue
            try:
                given[known.field] = known.shape.read(variable.value)
            except ShapeError as problem:
                self.blame(name, known.shape.wrong(variable.value, problem))
        return given

    def address(self) -> str:
        return without_brackets(self.plain("ansible_host") or self.key)

    def endpoint(self) -> tuple[str, str]:
        """Return address and port for ssh. Machines behind forwarded ports share an address, not a port."""
        return self.address(), self.plain("ansible_port") or str(SSH_PORT)

    def ssh_port(self) -> int:
        """Return the port of the node's ssh; a wrong one is blamed, and 22 is returned."""
        given = self.plain("ansible_port") or str(SSH_PORT)
        if given.isdecimal() and 0 < int(given) < 65536:
            return int(given)
        self.blame("ansible_port", f"must be a port from 1 to 65535, not {quoted(given)}")
        return SSH_PORT

    def is_local(self) -> bool:
        return self.plain("ansible_connection").removeprefix("ansible.builtin.") == "local"


def resolve(
    hosts: Iterable[RawHost], monitor: str = "", machine: frozenset[str] = frozenset()
) -> Mesh | tuple[Mistake, ...]:
    """Return the mesh, or every mistake.

    Args:
        hosts: all hosts of the inventory, in its order.
        monitor: the ``--monitor`` option; "": it was not given.
        machine: the names of this machine, to find its own host among several monitors.
    """
    everything = [_Host(raw) for raw in hosts]
    for host in everything:
        _blame_group(host)
    ours = [host for host in everything if {MONITORS, NODES} & set(host.raw.groups)]
    for host in ours:
        _blame_unknown(host)
    monitors = [host for host in ours if MONITORS in host.raw.groups]
    chosen, mistakes = _choose(monitors, monitor, machine)
    given = {host.key: host.fields("mesh_monitor_") for host in monitors}  # of each, to find all mistakes
    keys = tuple(host.key for host in monitors)
    clusters = {host.key: Cluster(monitors=keys, **host.fields("mesh_cluster_")) for host in monitors}
    for host in monitors:
        _blame_cluster(host, clusters[host.key], monitors)
    for host in monitors:
        _blame_haproxy_ports(host, Settings(**given[host.key]))
    settings = Settings(**given[chosen.key]) if chosen else Settings()

    of_nodes = [host for host in ours if NODES in host.raw.groups]
    nodes = [_node(host, chosen, settings) for host in of_nodes]
    if not nodes:
        mistakes.append(Mistake(f"no host is in the group {NODES}: there is nothing to watch"))
    if any(each.endpoints for each in clusters.values()):
        _blame_local(of_nodes, monitors)
    _blame_shared(of_nodes, nodes)
    _blame_parents(of_nodes, nodes)
    mistakes += [mistake for host in everything for mistake in host.mistakes]
    if mistakes:
        return tuple(mistakes)
    return Mesh(
        tuple(nodes),
        settings,
        chosen.key if chosen else "",
        clusters[chosen.key] if chosen and clusters[chosen.key].endpoints else Cluster(),
    )


def _blame_group(host: _Host) -> None:
    """Report a group whose name is almost one of the two: otherwise the host would be ignored silently."""
    absent = {MONITORS, NODES} - set(host.raw.groups)
    for group in host.raw.groups:
        if meant := nearest(group.lower(), absent, similar=_SIMILAR):
            problem = f"is in the group {group}, which the mesh does not know; did you mean {meant}?"
            host.mistakes.append(Mistake(problem, host.key))


def _blame_unknown(host: _Host) -> None:
    for name in host.raw.variables:
        if name.startswith("mesh_") and not is_known(name):
            known = [*VARIABLES, *ROLE_VARIABLES]
            hint = did_you_mean(name, known, "docs/variables.md lists them all")
            host.blame(name, f"is not a variable of the mesh; {hint}")


def meant_by(name: str) -> str:
    """Return the variable that is perhaps meant by a name; "": it is one itself, or it is like none."""
    if name in _ANSIBLES or name.startswith("mesh_"):
        return ""
    plain = name.lower().replace("-", "_")
    for guess in (plain, f"mesh_{plain}"):
        if guess in VARIABLES:
            return guess
    if plain.startswith("ansible"):
        return nearest(plain, _ANSIBLES, similar=_SIMILAR)
    return nearest(plain, VARIABLES, similar=_SIMILAR) if plain.startswith("mesh") else ""


def near_names(hosts: Iterable[RawHost]) -> tuple[str, ...]:
    """Return a note on each name that is perhaps meant to be a variable, and has no effect on the mesh."""
    notes = {
        f"{variable.place + ': ' if variable.place else ''}{host.key}: {name} has no effect on the mesh; "
        f"did you mean {meant}?": None
        for host in hosts
        for name, variable in host.variables.items()
        if (meant := meant_by(name))
    }
    return tuple(notes)


def _choose(
    monitors: Sequence[_Host], wanted: str, machine: frozenset[str]
) -> tuple[_Host | None, list[Mistake]]:
    named = [host for host in monitors if host.key == wanted]
    # Of several, the one that Ansible reaches without a connection is where it runs.
    here = [host for host in monitors if host.is_local()] if len(monitors) > 1 else []
    here = here or [host for host in monitors if {host.key, host.plain("ansible_host")} & machine]
    keys = ", ".join(host.key for host in monitors)
    if wanted:
        problem = f"the monitor {wanted} is not in the group {MONITORS}, which has: {keys or 'nobody'}"
        return (named[0], []) if named else (None, [Mistake(problem)])
    if len(monitors) <= 1 or len(here) == 1:
        return next(iter(here or monitors), None), []
    problem = f"there are {len(monitors)} monitors and none of them is clearly this machine"
    return None, [Mistake(f"{problem}: choose one with --monitor: {keys}")]


def _node(host: _Host, monitor: _Host | None, settings: Settings) -> Node:
    if not KEY.fullmatch(host.key):
        problem = (
            "a node's inventory name must consist of letters, digits, . _ and -, and not begin with . or -; "
            "put its address into ansible_host"
        )
        host.mistakes.append(Mistake(problem, host.key))
    given = host.fields("mesh_node_")
    _blame_port_of_address(host)
    tunnel = _tunnel(host)
    on_monitor = host.is_local() or (monitor is not None and host.endpoint() == monitor.endpoint())
    if "url" not in given:
        given["url"] = _default_url(host, tunnel, on_monitor=on_monitor)
    node = Node(
        key=host.key,
        name=given.pop("name", host.key),
        groups=tuple(sorted(set(host.raw.groups) - _OF_ALL_HOSTS)),
        tunnel=tunnel,
        ssh_host=host.address() if host.address() != host.key else "",
        ssh_port=host.ssh_port(),
        login=_login(host),
        on_monitor=on_monitor,
        **given,
    )
    _blame_thresholds(host, node)
    _blame_recovery(host, node)
    _blame_gpu_recovery(host, node)
    _blame_late_warning(host, node, settings.check_interval)
    _blame_wake(host, node)
    return node


def _blame_port_of_address(host: _Host) -> None:
    """Report a port in ``ansible_host``: ssh and the default URL would take it for a part of the name."""
    if parts := host_with_port(host.address()):
        alone, port = parts
        url = f"http://{authority(alone, int(port))}"
        message = (
            f"must be a host without a port: {alone}; Ollama's port belongs in mesh_node_url ({url}), "
            "that of ssh in ansible_port"
        )
        host.blame("ansible_host", message)


def _default_url(host: _Host, tunnel: Tunnel | None, *, on_monitor: bool) -> str:
    if tunnel or on_monitor:
        return f"http://127.0.0.1:{tunnel.local_port if tunnel else OLLAMA_PORT}"
    address = host.address()
    if not is_host(address) and not host.has("mesh_node_url") and host.is_right("ansible_host"):
        host.blame("ansible_host", "is not a host's name or address: correct it, or give mesh_node_url")
        return ""
    return f"http://{authority(address, OLLAMA_PORT)}"


def _tunnel(host: _Host) -> Tunnel | None:
    given = host.fields("mesh_tunnel_")
    there, here = "mesh_tunnel_host", "mesh_tunnel_local_port"
    if host.has(there) and not host.has(here):
        host.blame(here, "is missing: a tunnel needs a free port on the monitor, such as 8080", at=there)
    if host.has(here) and not host.has(there):
        host.blame(there, "is missing: mesh_tunnel_local_port alone makes no tunnel", at=here)
    return Tunnel(**given) if {"host", "local_port"} <= given.keys() else None


def _blame_thresholds(host: _Host, node: Node) -> None:
    low, high = "mesh_node_unhealthy_threshold", "mesh_node_offline_threshold"
    if host.is_right(low, high) and node.offline_threshold <= node.unhealthy_threshold:
        host.blame(
            high,
            f"must be above {low} ({node.unhealthy_threshold}), not {node.offline_threshold}",
            at=high if host.has(high) else low,
        )


def _blame_late_warning(host: _Host, node: Node, interval: float) -> None:
    name, most = "mesh_node_warn_after", node.warned_in_time(interval)
    if host.is_right(name, "mesh_node_timeout") and host.has(name) and node.first_warning(interval) > most:
        host.blame(
            name,
            f"must be at most {most}, not {node.warn_after}: with a check every {interval:g} s and "
            f"{node.timeout:g} s for an answer, the first alert could be later than two minutes",
        )


def _blame_recovery(host: _Host, node: Node) -> None:
    how, command = "mesh_node_recovery", "mesh_node_recovery_command"
    if not host.is_right(how, command):
        return
    if node.recovery is RecoveryKind.COMMAND and not node.recovery_command:
        host.blame(command, f"is missing: {how} is command", at=how)
    if node.recovery_command and not host.has(how):
        host.blame(how, f"is missing: set it to command, or {command} is never run", at=command)


def _blame_gpu_recovery(host: _Host, node: Node) -> None:
    """Report a recovery of GPUs that would never be made."""
    name, expects = "mesh_node_gpu_recovery", "mesh_node_expects_gpu"
    if node.gpu_recovery is GpuRecovery.NONE or not host.is_right(name, expects):
        return
    if node.expects_gpu.rule is GpuRule.NONE:
        host.blame(name, f"must be none, not {node.gpu_recovery}: {expects} is false")
    elif node.recovery is RecoveryKind.NONE:
        host.blame(name, f"must be none, not {node.gpu_recovery}: mesh_node_recovery is none")
    elif node.on_monitor:
        host.blame(name, f"must not be {node.gpu_recovery}: the monitor runs on this host")


def _blame_wake(host: _Host, node: Node) -> None:
    """Report a node that no packet of the monitor's can wake."""
    mac, wait = "mesh_node_wake_mac", "mesh_node_wake_timeout"
    if host.has(wait) and not host.has(mac):
        host.blame(wait, f"has no effect without {mac}")
    if not node.wake_mac:
        return
    if node.tunnel:
        host.blame(mac, "must not be given: the packet does not reach a node behind a tunnel")
    elif node.on_monitor:
        host.blame(mac, "must not be given: the node is on the monitor itself, which does not sleep")


LOGIN = frozenset(
    {"ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args", "ansible_ssh_extra_args"}
)
"""Ansible's variables that ssh alone can obey."""

MORE_THAN_LOGIN = frozenset(
    {
        "ansible_password",
        "ansible_ssh_pass",
        "ansible_ssh_password",
        "ansible_ssh_executable",
        "ansible_ssh_args",
        "ansible_ssh_user",
        "ansible_ssh_host",
        "ansible_ssh_port",
        "ansible_private_key_file",
        "ansible_ssh_private_key",
        "ansible_control_path",
    }
)
"""Those that it cannot. The list need not be whole: what ssh cannot log in to is left to Ansible."""


def _login(host: _Host) -> Login | None:
    """Return how ssh alone logs in; None: only Ansible can."""
    connection = host.plain("ansible_connection").removeprefix("ansible.builtin.")
    if connection not in ("", "ssh", "smart") or any(map(host.has, MORE_THAN_LOGIN)):
        return None
    args = f"{host.plain('ansible_ssh_common_args')} {host.plain('ansible_ssh_extra_args')}".strip()
    try:
        shlex.split(args)
    except ValueError:
        return None
    return Login(host.plain("ansible_user"), host.plain("ansible_ssh_private_key_file"), args)


def _blame_cluster(host: _Host, cluster: Cluster, monitors: Sequence[_Host]) -> None:
    """Report a cluster that could not work."""
    seed, endpoints, keys = "mesh_cluster_seed", "mesh_cluster_endpoints", [each.key for each in monitors]
    if not cluster.endpoints:
        for name in sorted({"mesh_cluster_name", seed} & set(host.raw.variables)):
            if host.has(name) and host.is_right(endpoints, name):
                host.blame(name, f"has no effect without {endpoints}")
        return
    if cluster.seed and cluster.seed not in keys:
        hint = did_you_mean(cluster.seed, keys, f"there are {', '.join(keys)}")
        host.blame(seed, f"must be a monitor, not {quoted(cluster.seed)}; {hint}")


def _blame_local(hosts: Sequence[_Host], monitors: Sequence[_Host]) -> None:
    """Report a node that would be another machine on each of several monitors.

    In the inventory that site.yml writes, the monitor itself is local, and so is a node on it.
    """
    if any(monitor.is_local() for monitor in monitors):
        return
    places = [monitor.endpoint() for monitor in monitors]
    for host in hosts:
        if host.is_local() and host.endpoint() not in places:
            host.blame(
                "ansible_connection",
                "must not be local: several monitors share this mesh; give the address of the monitor that "
                "the node is on as its ansible_host",
            )


def _blame_haproxy_ports(host: _Host, settings: Settings) -> None:
    """Report a port that HAProxy would listen at twice, or at which it is told of the nodes."""
    name, models = "mesh_monitor_haproxy_", settings.haproxy_models
    taken = {settings.haproxy_port: f"{name}port"}
    for model, port in models.items():
        if port and (by := taken.setdefault(port, model)) != model:
            host.blame(f"{name}models", f"must not have the port {port} for {model}: {by} has that port")
    if by := taken.get(settings.haproxy_agent_port, ""):
        port = settings.haproxy_agent_port
        host.blame(f"{name}agent_port", f"must not be {port}: {by} has that port", at=f"{name}models")


def _blame_shared(hosts: Sequence[_Host], nodes: Sequence[Node]) -> None:
    ports: dict[int, str] = {}
    direct = {_origin(node.url): node for node in nodes if not node.tunnel}
    names: dict[str, str] = {}
    rebooted = {node.machine: node for node in nodes if node.gpu_recovery is GpuRecovery.REBOOT}
    for host, node in zip(hosts, nodes, strict=True):
        if node.tunnel and ports.setdefault(port := node.tunnel.local_port, node.key) != node.key:
            host.blame("mesh_tunnel_local_port", f"must not be {port}: {ports[port]} has that port")
        if node.tunnel and (other := direct.get(_origin(node.url))):
            port = node.tunnel.local_port
            host.blame("mesh_tunnel_local_port", f"must not be {port}: {other.key} answers at {other.url}")
        other = rebooted.get(node.machine)
        if other and node.enabled and node.gpu_recovery is not GpuRecovery.REBOOT:
            both = f"must be reboot, as for {other.key} on the same host; or set both to none"
            host.blame("mesh_node_gpu_recovery", both)
        if names.setdefault(node.name, node.key) != node.key:
            host.blame(
                "mesh_node_name", f"must differ from the name of {names[node.name]}: {quoted(node.name)}"
            )


def _origin(url: str) -> str:
    """Return the URL without its path prefix."""
    return "/".join(url.split("/")[:3])


def _blame_parents(hosts: Sequence[_Host], nodes: Sequence[Node]) -> None:
    parents = {node.key: node.parent for node in nodes}
    name = "mesh_node_parent"
    for host, node in zip(hosts, nodes, strict=True):
        if not node.parent:
            continue
        if node.parent == node.key:
            host.blame(name, "must not be the node itself")
        elif node.parent not in parents:
            wrong = f"must be a node's inventory name, not {quoted(node.parent)}"
            host.blame(name, "; ".join(filter(None, (wrong, did_you_mean(node.parent, parents)))))
        elif _leads_back(node.key, parents):
            host.blame(name, f"must not lead back to the node: {node.parent} is also below it")


def _leads_back(key: str, parents: dict[str, str]) -> bool:
    seen, at = {key}, parents[key]
    while at in parents and at not in seen:
        seen.add(at)
        at = parents[at]
    return at == key
