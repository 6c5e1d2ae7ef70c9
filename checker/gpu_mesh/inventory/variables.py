"""Lists every ``mesh_*`` variable that an inventory may hold: shape and meaning. For resolve.py and the docs.

The defaults are in domain/mesh.py. The module is longer than others because the list is one table.
"""

from types import MappingProxyType
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from gpu_mesh.domain.mesh import Cluster, GpuRecovery, Node, Publish, RecoveryKind, Scope, Settings, Tunnel
from gpu_mesh.inventory import value_types
from gpu_mesh.inventory.maintenance import MAINTENANCE
from gpu_mesh.inventory.value_types import Shape

PREFIXES: tuple[tuple[str, type[Struct]], ...] = (
    ("mesh_node_", Node),
    ("mesh_tunnel_", Tunnel),
    ("mesh_monitor_", Settings),
    ("mesh_cluster_", Cluster),
)


class Variable(Struct, frozen=True):
    """One variable of the checker."""

    name: str
    shape: Shape
    meaning: str
    default: str = ""  # in words; "": the value in domain/mesh.py

    @property
    def prefix(self) -> str:
        """The prefix of its name, one of PREFIXES."""
        return next(prefix for prefix, _ in PREFIXES if self.name.startswith(prefix))

    @property
    def field(self) -> str:
        """The field of the prefix's struct."""
        return self.name.removeprefix(self.prefix)


_TABLE = (
    Variable(
        "mesh_node_name", value_types.TEXT, "Its name for people, instead of its key", "its inventory name"
    ),
    Variable(
        "mesh_node_url",
        value_types.URL,
        "Where Ollama answers; `/api/tags` and so on are added to it",
        "the tunnel's local port, 127.0.0.1 on the monitor, else `ansible_host`; port 11434",
    ),
    Variable("mesh_node_enabled", value_types.BOOLEAN, "Whether it is checked at all"),
    Variable(
        "mesh_node_timeout",
        value_types.seconds(300),
        "Seconds for the whole probe, name resolution included",
    ),
    Variable(
        "mesh_node_expected_models",
        value_types.TEXTS,
        "Models that must be there; an empty list: none",
        "not checked",
    ),
    Variable(
        "mesh_node_expects_gpu",
        value_types.GPUS,
        "Whether a model on the CPU is a fault, and how many cards the node has at least; `auto`: it is one "
        "once a model was in the node's VRAM",
        "`auto`",
    ),
    Variable(
        "mesh_node_gpu_interval",
        value_types.seconds_or_none(86400),
        "Seconds between two looks at the node's GPUs; 0: never",
    ),
    Variable(
        "mesh_node_gpu_log",
        value_types.BOOLEAN,
        "Whether the role mesh_node lets the login of recovery read the kernel's log",
    ),
    Variable(
        "mesh_node_gpu_recovery",
        value_types.choice(GpuRecovery),
        "Which recovery of the node's GPUs is allowed: `reload` of nvidia_uvm, that and the `reset` of a "
        "card, or a reload and the `reboot` of its host; never on the monitor's own (docs/gpu.md)",
    ),
    Variable(
        "mesh_node_parent",
        value_types.TEXT,
        "The node whose failure explains this one's, so that this one's alerts are muted",
    ),
    Variable(
        "mesh_node_headers",
        value_types.HEADERS,
        "Headers of every request; a value `@/path` is read from that file: a secret must be in one",
    ),
    Variable("mesh_node_ca_file", value_types.PATH, "The CA that signed its certificate", "the system's"),
    Variable(
        "mesh_node_unhealthy_threshold", value_types.COUNT, "Consecutive failures until it is unhealthy"
    ),
    Variable(
        "mesh_node_offline_threshold",
        value_types.COUNT,
        "Consecutive failures until it is offline; more than until it is unhealthy",
    ),
    Variable(
        "mesh_node_healthy_threshold", value_types.COUNT, "Consecutive successes until it is healthy again"
    ),
    Variable(
        "mesh_node_warn_after",
        value_types.COUNT,
        "Consecutive failures before the first alert of an incident, so that one lost probe disturbs nobody; "
        "at most as many as it is unhealthy with, and as fit into two minutes",
        "`2`; `1` where that could be later than two minutes",
    ),
    Variable("mesh_node_alert_tags", value_types.TAGS, "Tags by which Apprise URLs choose its alerts"),
    Variable("mesh_node_recovery", value_types.choice(RecoveryKind), "How Ollama is restarted there"),
    Variable("mesh_node_unit", value_types.UNIT, "The unit that `systemd` and `systemd-user` restart"),
    Variable("mesh_node_container", value_types.CONTAINER, "The container that `docker` restarts"),
    Variable(
        "mesh_node_recovery_command",
        value_types.COMMAND,
        "What `command` runs there; must not contain a secret",
        "none",
    ),
    Variable(
        "mesh_node_recovery_playbooks",
        value_types.PLAYBOOKS,
        "Your own recovery playbooks: files on the monitor, by cause; `last`: if the others did not help "
        "(docs/recovery.md)",
        "none",
    ),
    Variable(
        "mesh_node_drain",
        value_types.seconds_or_none(3600),
        "Seconds for which it takes no new requests before a repair that can wait; 0: none (docs/routing.md)",
    ),
    Variable(
        "mesh_node_maintenance",
        MAINTENANCE,
        "Recurring times in which its alerts are muted and, if you say so, its recovery is stopped; see "
        "[alerts.md](alerts.md#maintenance-windows)",
    ),
    Variable(
        "mesh_node_wake_mac",
        value_types.MAC,
        "The address of its network card: the node may sleep, and is woken by a packet to it "
        "([sleep.md](sleep.md))",
        "it may not sleep",
    ),
    Variable(
        "mesh_node_wake_timeout",
        value_types.seconds(3600),
        "Seconds after `gpu-mesh wake` until its silence counts as a failure",
    ),
    Variable(
        "mesh_tunnel_host",
        value_types.HOST,
        "The host to which ssh connects; with it the node is reached through a tunnel",
        "no tunnel",
    ),
    Variable(
        "mesh_tunnel_local_port",
        value_types.PORT,
        "The monitor's port at which the tunnel begins",
        "required with a tunnel",
    ),
    Variable("mesh_tunnel_remote_host", value_types.HOST, "Where Ollama is, seen from that host"),
    Variable("mesh_tunnel_remote_port", value_types.PORT, "Ollama's port there"),
    Variable("mesh_tunnel_user", value_types.USER, "The ssh login", "the one that recovery uses"),
    Variable("mesh_tunnel_port", value_types.PORT, "The ssh port", "the one that recovery uses"),
    Variable(
        "mesh_tunnel_identity_file",
        value_types.PATH,
        "The ssh key on the monitor",
        "the one that recovery uses",
    ),
    Variable(
        "mesh_tunnel_recovery_command",
        value_types.COMMAND,
        "The command that rebuilds the tunnel, run on the monitor; must not contain a secret",
        "restart of gpu-mesh-tunnel@NODE",
    ),
    Variable("mesh_monitor_scope", value_types.choice(Scope), "Which systemd runs the units"),
    Variable("mesh_monitor_check_interval", value_types.INTERVAL, "Seconds between checks"),
    Variable(
        "mesh_monitor_recover_interval", value_types.INTERVAL, "Seconds between keepalive runs of recovery"
    ),
    Variable("mesh_monitor_stats_interval", value_types.INTERVAL, "Seconds between statistics"),
    Variable(
        "mesh_monitor_dashboard_interval", value_types.INTERVAL, "Seconds between dashboards in the journal"
    ),
    Variable(
        "mesh_monitor_publish",
        value_types.choice(Publish),
        "For whom the page is written: `private`, for those who may look at the monitor; `public`, for "
        "strangers, too, without hosts and addresses ([page.md](page.md))",
    ),
    Variable(
        "mesh_monitor_haproxy",
        value_types.BOOLEAN,
        "Whether the role puts Debian's HAProxy in front of the nodes ([haproxy.md](haproxy.md))",
    ),
    Variable(
        "mesh_monitor_haproxy_address",
        value_types.HOST,
        "The address at which it listens; who reaches it may use every node",
    ),
    Variable(
        "mesh_monitor_haproxy_port",
        value_types.PORT,
        "Its port for any model, or for the one that the header `X-Gpu-Mesh-Model` names",
    ),
    Variable(
        "mesh_monitor_haproxy_models",
        value_types.MODEL_PORTS,
        "Models that requests may ask for by that header, each with a port of its own; 0: without",
    ),
    Variable(
        "mesh_monitor_haproxy_agent_port",
        value_types.PORT,
        "The port on loopback at which HAProxy is told how each node is",
    ),
    Variable(
        "mesh_monitor_impaired_checks",
        value_types.COUNT,
        "Consecutive checks with an impairment before it is alerted",
    ),
    Variable(
        "mesh_monitor_grace",
        value_types.seconds_or_none(86400),
        "Seconds for which the alerts of a new node, never healthy yet, are muted",
    ),
    Variable(
        "mesh_monitor_flapping",
        value_types.BOOLEAN,
        "Whether a flapping node is alerted once, and not at each change of its status",
    ),
    Variable(
        "mesh_monitor_alert_digest",
        value_types.BOOLEAN,
        "Whether alerts about three or more nodes that are due at once for a URL are one message",
    ),
    Variable(
        "mesh_monitor_reminder_interval",
        value_types.seconds_or_none(2592000),
        "Seconds between two reminders that a node is still not healthy, that the monitor itself is still "
        "offline, or that most nodes still fail; 0: none",
    ),
    Variable(
        "mesh_monitor_deep_interval",
        value_types.seconds_or_none(86400),
        "Seconds between two deep checks of a node, which a loaded model must answer; 0: never",
    ),
    Variable("mesh_monitor_recovery_max_attempts", value_types.FEW, "Attempts of recovery in one incident"),
    Variable(
        "mesh_monitor_recovery_backoff",
        value_types.seconds(86400),
        "Seconds to wait after the first attempt of an incident; doubled after each attempt",
    ),
    Variable(
        "mesh_monitor_recovery_slow_retry",
        value_types.seconds_or_none(604800),
        "Seconds between two attempts after a person was called; 0: none",
    ),
    Variable(
        "mesh_monitor_recovery_patience",
        value_types.seconds(86400),
        "Seconds that an impairment lasts before it is repaired, if a restart helps",
    ),
    Variable(
        "mesh_monitor_recovery_brake",
        value_types.PER_CENT,
        "Per cent of the nodes, if there are four or more: when more fail within five minutes, nothing is "
        "repaired until fewer fail, or until `gpu-mesh recover --force`; 0: never",
    ),
    Variable("mesh_monitor_recovery_concurrency", value_types.COUNT, "Recoveries at the same time"),
    Variable("mesh_monitor_recovery_timeout", value_types.seconds(3600), "Seconds for one playbook"),
    Variable(
        "mesh_monitor_recovery_settle",
        value_types.seconds(3600),
        "Seconds within which a repaired node must answer",
    ),
    Variable(
        "mesh_monitor_recovery_playbooks",
        value_types.PATH,
        "Folder of your own recovery playbooks",
        "those that came with the checker",
    ),
    Variable(
        "mesh_monitor_alert_templates",
        value_types.PATH,
        "Folder of your own alert templates",
        "those that came with the checker",
    ),
    Variable(
        "mesh_monitor_apprise_config",
        value_types.PATH,
        "Apprise's configuration file",
        "`apprise.yml` in the configuration folder",
    ),
    Variable(
        "mesh_monitor_alertmanager_config",
        value_types.PATH,
        "The file that names your Alertmanagers ([alerts.md](alerts.md#alertmanager))",
        "`alertmanager.yml` in the configuration folder",
    ),
    Variable(
        "mesh_monitor_proxy_from_environment",
        value_types.BOOLEAN,
        "Whether probes use http_proxy and the like",
    ),
    Variable(
        "mesh_monitor_history_max",
        value_types.MIB_OR_NONE,
        "MiB that the history may take on the disk: then the oldest part of it goes; 0: none is kept",
    ),
    Variable(
        "mesh_monitor_heartbeat_url",
        value_types.SECRET_URL,
        "Requested after each check, with /fail after a bad one: another service notices if no request "
        "comes. Put a secret URL into a file of mode 0600: `@/path`",
        "none",
    ),
    Variable(
        "mesh_monitor_canary",
        value_types.HOSTS_AND_PORTS,
        "host:port outside the LAN; if none is reachable, the monitor is offline, not the nodes",
        "no guard",
    ),
    Variable(
        "mesh_monitor_python", value_types.TEXT, "The Python with which the program is installed", "`python3`"
    ),
    Variable(
        "mesh_cluster_endpoints",
        value_types.ENDPOINTS,
        "URLs of the etcd through which several monitors share this mesh ([cluster.md](cluster.md))",
        "this monitor is alone",
    ),
    Variable(
        "mesh_cluster_name",
        value_types.CONTAINER,
        "The mesh's name in etcd's keys, where several meshes share one etcd",
    ),
    Variable("mesh_cluster_ca", value_types.PATH, "The CA that signed etcd's certificates"),
    Variable("mesh_cluster_cert", value_types.PATH, "The monitor's certificate for etcd"),
    Variable("mesh_cluster_key", value_types.PATH, "Its key"),
    Variable(
        "mesh_cluster_seed",
        value_types.TEXT,
        "The monitor whose state is to be the first that is shared",
        "that of whoever leads first",
    ),
)

VARIABLES = MappingProxyType({variable.name: variable for variable in _TABLE})

# Only roles read these, and check them by their argument_specs. They are known here: they are no mistakes.
ROLE_VARIABLES = MappingProxyType(
    {
        "mesh_node_recovery_user": "The user of recovery on a node that the roles may not provision",
        "mesh_node_recovery_key": "The ssh key of that user, a file on the machine that runs Ansible",
        "mesh_node_key_from": "The addresses from which the monitors' keys may log in; without them, any",
        "mesh_node_restart_after_crash": "Whether systemd itself restarts Ollama's unit when it crashes",
        "mesh_node_host_key": "The node's ssh host key; without it, read over your own connection",
        "mesh_node_jump_host_key": "The ssh host key of the jump host in its ssh arguments",
        "mesh_tunnel_host_key": "The tunnel host's ssh host key; without it, read over your own connection",
        "mesh_monitor_user": "The user that the monitor runs as",
        "mesh_monitor_readers": "The group whose members may look at the monitor without sudo",
        "mesh_monitor_index": "A package index of your own",
        "mesh_monitor_wheels": "A folder of wheels where Ansible runs, for a monitor without an index",
        "mesh_monitor_version": "The version to install",
        "mesh_monitor_apprise_source": "Apprise's configuration, a file on the machine that runs Ansible",
        "mesh_monitor_alertmanager_source": "Your Alertmanagers, a file on the machine that runs Ansible",
        "mesh_monitor_started": "Whether the units are started when the role is done",
        "mesh_monitor_web": "What gives out the page for strangers: `nginx` or `caddy`; by default nothing",
        "mesh_monitor_web_*": "Address and port at which it listens",
        "mesh_monitor_state_dir": "Where state is kept",
        "mesh_monitor_log_*": "Where the log is kept and how it is rotated",
        "mesh_cluster_install": "Whether etcd is kept on the monitors, or given ([cluster.md](cluster.md))",
        "mesh_cluster_remove": "The member that is to leave etcd, for one run: given by `-e`",
        "mesh_cluster_two_members": "Whether etcd may have two members, of which neither may fail",
        "mesh_cluster_address": "The monitor's address in its endpoint; by default that of its login",
        "mesh_cluster_peer_port": "The port at which the members of etcd talk to each other",
        "mesh_cluster_ca_host": "The monitor that keeps the key of etcd's CA; by default the first member",
        "mesh_cluster_quota": "The most MiB that etcd may keep",
    }
)


def default_of(variable: Variable) -> str:
    """Return the default in words, as the documentation shows it."""
    if variable.default:
        return variable.default
    struct = dict(PREFIXES)[variable.prefix]
    field = next(field for field in fields(struct) if field.name == variable.field)
    value: Any = field.default if field.default is not NODEFAULT else field.default_factory()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value or value == 0 else "none"


def is_known(name: str) -> bool:
    """Return whether an inventory may hold a variable of that name."""
    return (
        name in VARIABLES
        or name in ROLE_VARIABLES
        or any(known.endswith("*") and name.startswith(known[:-1]) for known in ROLE_VARIABLES)
    )


def markdown() -> str:
    """Return the tables of docs/variables.md."""
    parts = []
    for prefix, _ in PREFIXES:
        rows = [
            f"| `{variable.name}` | {variable.shape.words} | {default_of(variable)} | {variable.meaning} |"
            for variable in _TABLE
            if variable.prefix == prefix
        ]
        parts += [
            f"## {prefix}\\*",
            "",
            "| variable | type | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    rows = [f"| `{name}` | {meaning} |" for name, meaning in ROLE_VARIABLES.items()]
    parts += ["## Read by roles alone", "", "| variable | meaning |", "|---|---|", *rows]
    return "\n".join(parts) + "\n"
