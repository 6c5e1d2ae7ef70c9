"""The mesh as the inventory describes it: nodes, tunnels, settings. Values only; nothing here reads a file.

The defaults of every ``mesh_*`` variable stand here and nowhere else; roles read the resolved mesh through
``gpu-mesh validate --json``.
"""

from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

LAST_RUNG = "last"
"""The key in ``Node.recovery_playbooks`` of what is done when the built-in recoveries have not helped."""


class RecoveryKind(StrEnum):
    """How Ollama is restarted on a node (``mesh_node_recovery``)."""

    SYSTEMD = "systemd"
    SYSTEMD_USER = "systemd-user"
    DOCKER = "docker"
    COMMAND = "command"
    NONE = "none"


class Scope(StrEnum):
    """Which systemd runs the monitor's units (``mesh_monitor_scope``)."""

    SYSTEM = "system"
    USER = "user"


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
    end: int  # not after ``start``: on the next day; 1440: the midnight at the day's end
    zone: str = "UTC"
    reason: str = "maintenance"
    recovery: bool = True  # whether recovery goes on meanwhile


class Tunnel(Struct, frozen=True, forbid_unknown_fields=True):
    """An ``ssh -L`` forward on the monitor through which a node is reached (``mesh_tunnel_*``)."""

    host: str
    local_port: int
    remote_host: str = "127.0.0.1"
    remote_port: int = 11434
    user: str = ""  # "", 0: the ones recovery uses for that host
    port: int = 0
    identity_file: str = ""
    recovery_command: str = ""  # "": the unit gpu-mesh-tunnel@NODE is restarted


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """One Ollama server (``mesh_node_*``). Times are seconds."""

    key: str  # its inventory_hostname: the one name it has in state, log and commands
    name: str
    url: str  # without a trailing slash
    enabled: bool = True
    timeout: float = 10.0  # for the whole probe, name resolution included
    expected_models: tuple[str, ...] | None = None  # None: not said; (): none is expected
    expects_gpu: bool = True
    parent: str = ""
    headers: dict[str, str] = {}
    ca_file: str = ""
    unhealthy_threshold: int = 3
    offline_threshold: int = 5
    healthy_threshold: int = 1
    alert_tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    recovery: RecoveryKind = RecoveryKind.SYSTEMD
    unit: str = "ollama.service"
    container: str = "ollama"
    recovery_command: str = ""
    recovery_playbooks: dict[str, str] = {}  # the operator's own, absolute paths by cause, or by LAST_RUNG
    maintenance: tuple[Window, ...] = ()
    tunnel: Tunnel | None = None
    on_monitor: bool = False  # reached over loopback and recovered over a local connection

    @property
    def machine(self) -> str:
        """What tells the machine that Ollama runs on from others: where a recovery acts."""
        if self.on_monitor:
            return "localhost"
        if self.tunnel is None:
            return urlsplit(self.url).hostname or self.key
        behind = self.tunnel.remote_host not in ("127.0.0.1", "::1", "localhost")
        return self.tunnel.remote_host if behind else self.tunnel.host


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The monitor's own settings (``mesh_monitor_*``). Times are seconds, paths absolute."""

    scope: Scope = Scope.SYSTEM
    check_interval: float = 30.0
    recover_interval: float = 60.0
    stats_interval: float = 300.0
    dashboard_interval: float = 60.0
    impaired_checks: int = 3  # an impairment alerts once it has lasted this many checks
    grace: float = 300.0  # for which a node that was never healthy is new, and alerts nobody
    flapping: bool = True  # whether a node that fails and answers by turns is told of once
    reminder_interval: float = 21600.0  # between two alerts of what still lasts; 0: none
    deep_interval: float = 600.0  # between two deep checks of a node; 0: none
    recovery_max_attempts: int = 3
    recovery_backoff: float = 60.0  # doubled after each attempt of an incident
    recovery_slow_retry: float = 3600.0  # between attempts once a person was called; 0: none
    recovery_patience: float = 300.0  # that an impairment which a restart helps lasts before it is repaired
    recovery_brake: int = 50  # per cent of the nodes; when more fail at once, nothing is repaired; 0: never
    recovery_concurrency: int = 5
    recovery_timeout: float = 120.0  # for one playbook
    recovery_settle: float = 30.0  # within which a repaired node must answer
    recovery_playbooks: str = ""  # "": the ones that came with the checker
    alert_templates: str = ""  # "": the ones that came with the checker
    apprise_config: str = ""  # "": apprise.yml beside the inventory's folder
    proxy_from_environment: bool = False
    heartbeat_url: str = ""
    canary: tuple[str, ...] = ()  # host:port outside the LAN; empty: no guard
    python: str = ""


class Mesh(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the inventory says, resolved: defaults filled in, types checked, references followed."""

    nodes: tuple[Node, ...]
    settings: Settings = Settings()
    monitor: str = ""  # inventory_hostname of the monitor; "" when the inventory names none

    def node(self, key: str) -> Node | None:
        """Return the node of that key, or None."""
        return next((node for node in self.nodes if node.key == key), None)


UTC_NAME = "UTC"
"""The zone that needs no time zone data on the machine."""
