"""Defines the mesh as the inventory describes it: nodes, tunnels, settings. Values only.

The defaults of all ``mesh_*`` variables are here, and only here: roles read the resolved mesh through
``gpu-mesh validate --json``.
"""

import re
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

LAST_RUNG = "last"
"""The key in ``Node.recovery_playbooks`` of the playbook for when the built-in recoveries did not help."""


_PLAIN_NAME = r"[A-Za-z0-9_.-]+"

FIRST_ALERT_WITHIN = 120.0
"""Seconds after a failure begins within which its first alert is raised, where the interval allows it."""


class RecoveryKind(StrEnum):
    """How Ollama is restarted on a node (``mesh_node_recovery``)."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd-user"
    DOCKER = "docker"
    COMMAND = "command"
    NONE = "none"

    @property
    def systemd_scope(self) -> str:
        """The systemd that runs Ollama then, as an option of systemctl names it; "": none does."""
        return {"systemd": "system", "systemd-user": "user"}.get(self.value, "")


class GpuRule(StrEnum):
    """Whether a node should run its models on GPUs."""

    AUTO = "auto"  # if it has shown that it can: a model was in VRAM before
    EXPECTED = "expected"
    NONE = "none"  # whatever its GPUs do is no fault


class GpuExpectation(Struct, frozen=True, forbid_unknown_fields=True):
    """What ``mesh_node_expects_gpu`` says."""

    rule: GpuRule = GpuRule.AUTO
    cards: int = 0  # as many must be there at least: 1 for ``true``, 0 for ``auto`` and ``false``


class GpuRecovery(StrEnum):
    """Which recovery of a node's GPUs the operator allows (``mesh_node_gpu_recovery``)."""

    NONE = "none"
    RELOAD = "reload"  # of the driver's module nvidia_uvm
    RESET = "reset"  # of a card, and a reload
    REBOOT = "reboot"  # of the host, and a reload


class Scope(StrEnum):
    """Which systemd runs the monitor's units (``mesh_monitor_scope``)."""

    SYSTEM = "system"
    USER = "user"


class Publish(StrEnum):
    """For whom the page is written (``mesh_monitor_publish``)."""

    NONE = "none"
    PRIVATE = "private"  # who may look at the monitor
    PUBLIC = "public"  # strangers, too, without hosts and addresses


class Day(StrEnum):
    """A day of the week, in the order of ``date.weekday()``."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class Window(Struct, frozen=True, forbid_unknown_fields=True):
    """A recurring maintenance window. Times are minutes since midnight by the clocks of its zone."""

    days: tuple[Day, ...]  # on which it begins
    start: int
    end: int  # if not after ``start``: on the next day; 1440: midnight at the end of the day
    zone: str = "UTC"
    reason: str = "maintenance"
    recovery: bool = True  # whether recovery continues meanwhile


class Tunnel(Struct, frozen=True, forbid_unknown_fields=True):
    """An ``ssh -L`` forward on the monitor through which a node is reached (``mesh_tunnel_*``)."""

    host: str
    local_port: int
    remote_host: str = "127.0.0.1"
    remote_port: int = 11434
    user: str = ""  # "" (for the port 0): as recovery uses it for that host
    port: int = 0
    identity_file: str = ""
    recovery_command: str = ""  # "": the unit gpu-mesh-tunnel@NODE is restarted


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """How ssh logs in to a node's host, where the inventory says no more than ssh's own options."""

    user: str = ""  # "": as ssh has it
    key_file: str = ""  # the same
    args: str = ""  # further options, as a shell would split them


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """One Ollama server (``mesh_node_*``). Times are seconds."""

    key: str  # its inventory_hostname: its only name in state, log and commands
    name: str
    url: str  # with its path prefix, if it has one; without a trailing slash
    enabled: bool = True
    timeout: float = 10.0  # for the whole probe, name resolution included
    expected_models: tuple[str, ...] | None = None  # None: not given; (): no model is expected
    expects_gpu: GpuExpectation = GpuExpectation()
    gpu_interval: float = 600.0  # between two looks at its GPUs; 0: none
    gpu_log: bool = False  # whether the login of recovery may read the kernel's log
    gpu_recovery: GpuRecovery = GpuRecovery.NONE
    parent: str = ""
    headers: dict[str, str] = {}
    ca_file: str = ""
    unhealthy_threshold: int = 3
    offline_threshold: int = 5
    healthy_threshold: int = 1
    warn_after: int | None = None  # consecutive failures before the first alert of an incident
    alert_tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    recovery: RecoveryKind = RecoveryKind.SYSTEMD
    unit: str = "ollama.service"
    container: str = "ollama"
    recovery_command: str = ""
    recovery_playbooks: dict[str, str] = {}  # the operator's own: absolute paths, by cause or LAST_RUNG
    drain: float = 60.0  # for which it takes no new requests before a repair that can wait; 0: none
    maintenance: tuple[Window, ...] = ()
    wake_mac: str = ""  # "aa:bb:cc:dd:ee:ff": it may sleep, and a packet to this address wakes it
    wake_timeout: float = 120.0  # within which it must answer then
    tunnel: Tunnel | None = None
    ssh_host: str = ""  # the address with which recovery logs in; "": its key
    ssh_port: int = 22
    login: Login | None = None  # None: only Ansible can connect to it
    on_monitor: bool = False  # reached over loopback and recovered over a local connection

    def warned_in_time(self, interval: float) -> int:
        """Return after how many failed checks in a row an alert is never later than FIRST_ALERT_WITHIN.

        A node that fails right after a check has failed N of them N intervals later, and the last one may
        take until its time limit.
        """
        return max(1, int((FIRST_ALERT_WITHIN - self.timeout) // interval))

    def first_warning(self, interval: float) -> int:
        """Return with how many consecutive failures the first alert of an incident is raised.

        By default with the second one, so that a single lost probe disturbs nobody.

        Args:
            interval: seconds between checks.
        """
        wanted = self.warn_after or min(2, self.warned_in_time(interval))
        return min(wanted, self.unhealthy_threshold, self.offline_threshold)

    @property
    def has_plain_name(self) -> bool:
        """Whether Ansible takes its key, as a limit, for a host's name and not for a pattern."""
        return re.fullmatch(_PLAIN_NAME, self.key) is not None

    @property
    def port(self) -> int:
        """The TCP port at which the monitor reaches it."""
        try:
            given = urlsplit(self.url).port
        except ValueError:  # one node's value must not stop what is done for all
            given = None
        return given or (443 if self.url.startswith("https:") else 80)

    @property
    def prefix(self) -> str:
        """The path below which a proxy gives Ollama out, with its leading slash; "": none."""
        return "/".join(["", *self.url.split("/")[3:]])

    @property
    def has_proxy(self) -> bool:
        """Whether a proxy must be in front of Ollama, which itself has no TLS and no path prefix."""
        return self.url.startswith("https:") or bool(self.prefix)

    @property
    def known_host(self) -> str:
        """The name under which ssh's file of known hosts has the node's key."""
        host = self.ssh_host or self.key
        return host if self.ssh_port == 22 else f"[{host}]:{self.ssh_port}"

    @property
    def machine(self) -> str:
        """The machine on which Ollama runs, and on which a recovery acts: its address or name."""
        if self.on_monitor:
            return "localhost"
        if self.tunnel is None:
            try:
                return urlsplit(self.url).hostname or self.key
            except ValueError:
                return self.key
        behind = self.tunnel.remote_host not in ("127.0.0.1", "::1", "localhost")
        return self.tunnel.remote_host if behind else self.tunnel.host


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The monitor's own settings (``mesh_monitor_*``). Times are seconds, paths absolute."""

    scope: Scope = Scope.SYSTEM
    check_interval: float = 30.0
    recover_interval: float = 60.0
    stats_interval: float = 300.0
    dashboard_interval: float = 60.0
    publish: Publish = Publish.PRIVATE
    impaired_checks: int = 3  # consecutive checks with an impairment before it is alerted
    grace: float = 300.0  # for which a node that was never healthy is new, and its alerts are muted
    flapping: bool = True  # whether a flapping node is alerted once, not at each change
    alert_digest: bool = True  # whether what is due at once about several nodes is one message
    reminder_interval: float = 21600.0  # between two alerts of a problem that lasts; 0: none
    deep_interval: float = 600.0  # between two deep checks of a node; 0: none
    recovery_max_attempts: int = 3
    recovery_backoff: float = 60.0  # doubled after each attempt of an incident
    recovery_slow_retry: float = 3600.0  # between attempts after a person was called; 0: none
    recovery_patience: float = 300.0  # that an impairment lasts before it is repaired, if a restart helps
    recovery_brake: int = 50  # per cent of the nodes; if more fail at once, nothing is repaired; 0: never
    recovery_concurrency: int = 5
    recovery_timeout: float = 120.0  # for one playbook
    recovery_settle: float = 30.0  # within which a repaired node must answer
    recovery_playbooks: str = ""  # "": those that came with the checker
    alert_templates: str = ""  # "": those that came with the checker
    apprise_config: str = ""  # "": apprise.yml beside the inventory's folder
    alertmanager_config: str = ""  # "": alertmanager.yml there
    proxy_from_environment: bool = False
    heartbeat_url: str = ""
    canary: tuple[str, ...] = ()  # host:port outside the LAN; empty: no guard
    haproxy: bool = False  # whether an HAProxy on the monitor sends requests to the nodes
    haproxy_address: str = "127.0.0.1"  # at which it listens
    haproxy_port: int = 11435  # for any model, or the one that the request's header names
    haproxy_models: dict[str, int] = {}  # a port of its own for each model, by canonical name; 0: none
    haproxy_agent_port: int = 11481  # on loopback: where it is told of the nodes
    history_max: int = 1000  # MiB that history.db may have; 0: no history is kept
    python: str = ""

    @property
    def publishes(self) -> bool:
        """Whether a change of a status is published: for people, or for HAProxy."""
        return self.publish is not Publish.NONE or self.haproxy


class Cluster(Struct, frozen=True, forbid_unknown_fields=True):
    """Where several monitors share their state (``mesh_cluster_*``). Paths are absolute."""

    endpoints: tuple[str, ...] = ()  # URLs of etcd; (): this monitor is alone
    name: str = "mesh"  # part of each key: several meshes may have one etcd
    ca: str = "/etc/gpu-mesh/etcd/ca.pem"
    cert: str = "/etc/gpu-mesh/etcd/client.pem"
    key: str = "/etc/gpu-mesh/etcd/client.key"
    seed: str = ""  # the monitor whose state is to be the first; "": that of whoever leads first
    monitors: tuple[str, ...] = ()  # all of the inventory


class Mesh(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole inventory, resolved: defaults filled in, types checked, references followed."""

    nodes: tuple[Node, ...]
    settings: Settings = Settings()
    monitor: str = ""  # inventory_hostname of the monitor; "": the inventory names none
    cluster: Cluster = Cluster()

    def node(self, key: str) -> Node | None:
        """Return the node with this key, or None."""
        return next((node for node in self.nodes if node.key == key), None)


UTC_NAME = "UTC"
"""The only zone that needs no time zone data on the machine."""
