"""The fault matrix: one real fault a row of what can go wrong, what must be found, done, and left alone.

``on_node`` and ``on_monitor`` are shell, run as root on the machine of that name. They may use {port} (the
node's Ollama, unit ollama@{port}), {address} (the node's own), {local} (its tunnel's port on the monitor),
{key}, and the functions of tests/programs/faults.sh.
"""

from dataclasses import dataclass

RESTARTED = ("restart_ollama", "recovered", "silent_on_its_host")
RESTARTED_THOUGH_IT_ANSWERED = ("restart_ollama", "recovered", "answers_on_its_host")
REBUILT = ("rebuild_tunnel", "recovered", "port_was_silent")
REBUILT_AFTER_A_LOOK = ("rebuild_tunnel", "recovered", "answers_on_its_host")


@dataclass(frozen=True)
class Row:
    """One fault of one node, and what must come of it."""

    key: str  # of the node
    what: str  # for people
    cause: str  # as found in the end
    ends: str = "offline"  # the status: healthy, degraded, offline (or on its way there)
    told: str = "error"  # the level of the alert that must come; "": none
    done: (
        tuple[tuple[str, str, str], ...] | None
    ) = ()  # recoveries: action, outcome, finding; None: any or none
    restarts: int = 0  # of Ollama's unit, exactly
    rebuilds: bool = False  # whether the tunnel has another process afterwards
    on_node: str = ""
    on_monitor: str = ""
    tunnel: bool = False
    scheme: str = "http"
    host: str = ""  # a name for the URL instead of the address
    machine: str = "hall"


ROWS = (
    # Repaired in this order: first what its own ssh gives up some time, then what takes longest.
    Row(
        "t_swallows",
        "tunnel's packets dropped both ways",
        "tunnel_stuck",
        "healthy",
        done=(REBUILT_AFTER_A_LOOK,),
        rebuilds=True,
        tunnel=True,
        on_node="set -- $(connection {address}); drop ip daddr {address} tcp sport ${{4##*:}};"
        " nft add rule inet fault out ip saddr {address} tcp dport ${{4##*:}} drop",
    ),
    Row(
        "t_half_open",
        "tunnel half-open: its far end hangs",
        "tunnel_stuck",
        "healthy",
        done=(REBUILT_AFTER_A_LOOK,),
        rebuilds=True,
        tunnel=True,
        on_node="kill -STOP $(connection {address} | grep -o 'pid=[0-9]*' | cut -d= -f2)",
    ),
    Row(
        "http_503",
        "HTTP 503, after the one restart that is allowed too",
        "http_error",
        told="critical",
        done=(("restart_ollama", "failed", "silent_on_its_host"),),
        restarts=1,
        on_node="will {port} FAULT=http_503; fault {port} http_503",
    ),
    Row(
        "refused",
        "Ollama killed",
        "refused",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="kill -KILL $(pid {port})",
    ),
    Row(
        "stopped",
        "unit stopped, still enabled",
        "refused",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="systemctl stop ollama@{port}",
    ),
    Row(
        "hung",
        "Ollama stopped by SIGSTOP",
        "timeout",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="kill -STOP $(pid {port})",
    ),
    Row(
        "disabled",
        "unit stopped and disabled",
        "refused",
        done=(("restart_ollama", "declined", "unit_disabled"),),
        on_node="systemctl disable --quiet --now ollama@{port}",
    ),
    Row(
        "masked",
        "unit stopped and masked",
        "refused",
        done=(("restart_ollama", "declined", "unit_disabled"),),
        on_node="systemctl --quiet mask --now ollama@{port}",
    ),
    Row(
        "given_up",
        "crashed until systemd starts it no more",
        "refused",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="given_up {port}",
    ),
    Row(
        "kept_down",
        "the same, and the login may not lift the limit",
        "refused",
        done=(("restart_ollama", "declined", "unit_given_up"),),
        on_node="forbid reset-failed {port}; given_up {port}",
    ),
    Row(
        "loopback",
        "Ollama bound to loopback alone",
        "not_exposed",
        done=(("restart_ollama", "declined", "answers_on_its_host"),),
        on_node="will {port} HOST=127.0.0.1; restart {port}",
    ),
    Row(
        "firewall",
        "its port closed by a firewall",
        "not_exposed",
        done=(("restart_ollama", "declined", "answers_on_its_host"),),
        on_node="drop ip daddr {address} tcp dport {port}",
    ),
    Row(
        "http_500",
        "HTTP 500",
        "http_error",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="fault {port} http_500",
    ),
    Row(
        "empty",
        "connection closed without an answer",
        "http_error",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        on_node="fault {port} close",
    ),
    Row("forbidden", "HTTP 403", "forbidden", on_node="fault {port} forbidden"),
    Row("html", "a web page instead of Ollama", "not_ollama", on_node="fault {port} html"),
    Row("broken_json", "broken JSON", "not_ollama", on_node="fault {port} broken_json"),
    Row("redirect", "a redirect", "not_ollama", on_node="fault {port} redirect"),
    Row("dns", "its name is gone", "dns", host="gone.mesh", on_monitor="sed -i /gone.mesh/d /etc/hosts"),
    Row(
        "expired",
        "certificate expired",
        "tls",
        scheme="https",
        host="expired.mesh",
        on_node="will {port} TLS=expired; restart {port}",
    ),
    Row(
        "wrong_name",
        "certificate for another name",
        "tls",
        scheme="https",
        host="wrong.mesh",
        on_node="will {port} TLS=other; restart {port}",
    ),
    Row(
        "models_gone",
        "models gone",
        "models_missing",
        "degraded",
        "warning",
        on_node="fault {port} no_models",
    ),
    Row(
        "models_vanish",
        "killed; after the restart its models are gone",
        "models_missing",
        "degraded",
        done=(("restart_ollama", "not_recovered", "silent_on_its_host"),),
        restarts=1,
        on_node="will {port} FAULT=no_models; kill -KILL $(pid {port})",
    ),
    Row(
        "cpu",
        "size_vram 0 until a restart",
        "cpu_fallback",
        "healthy",
        "warning",
        done=(RESTARTED_THOUGH_IT_ANSWERED,),
        restarts=1,
        on_node="fault {port} cpu",
    ),
    Row(
        "cpu_for_ever",
        "size_vram 0, after a restart too",
        "cpu_fallback",
        "degraded",
        "critical",
        done=(("restart_ollama", "not_recovered", "answers_on_its_host"),),
        restarts=1,
        on_node="will {port} FAULT=cpu; fault {port} cpu",
    ),
    Row(
        "stuck",
        "a model does not unload (expires_at)",
        "stuck_stopping",
        "healthy",
        "warning",
        done=(RESTARTED_THOUGH_IT_ANSWERED,),
        restarts=1,
        on_node="fault {port} stuck_stopping",
    ),
    Row(
        "runner",
        "a loaded model does not answer",
        "runner_hung",
        "healthy",
        done=(RESTARTED_THOUGH_IT_ANSWERED,),
        restarts=1,
        on_node="fault {port} hung_runner",
    ),
    Row("busy", "queue full", "busy", "degraded", "warning", on_node="fault {port} busy"),
    Row("loads", "/api/ps slow, for a while", "", "healthy", "", on_node="fault {port} slow_ps"),
    Row(
        "loading",
        "/api/ps slow, for 6 minutes",
        "loading",
        "degraded",
        "warning",
        on_node="fault {port} slow_ps",
    ),
    Row("slow", "slow answers", "slow", "degraded", "warning", on_node="fault {port} slow:1.2"),
    Row(
        "host_gone",
        "all packets to the host dropped",
        "host_down",
        done=(("restart_ollama", "declined", "host_down"),),
        on_node="drop ip daddr {address}",
    ),
    Row(
        "no_route",
        "host unreachable, says a router",
        "host_down",
        on_node="nft add rule inet fault in ip daddr {address} reject with icmp type host-unreachable",
    ),
    Row(
        "no_sshd",
        "Ollama killed, sshd stopped",
        "refused",
        done=(("restart_ollama", "declined", "no_ssh"),),
        on_node="kill -KILL $(pid {port}); systemctl stop ssh.service",
        machine="annex",
    ),
    Row(
        "no_login",
        "Ollama killed, the login refused",
        "no_access",
        done=(("restart_ollama", "declined", "no_access"),),
        on_node="kill -KILL $(pid {port});"
        " printf 'Match LocalAddress {address}\\nDenyUsers keeper\\n' >/etc/ssh/sshd_config.d/no_login.conf;"
        " systemctl reload ssh",
    ),
    Row(
        "host_key",
        "Ollama killed, another host key",
        "no_access",
        done=(("restart_ollama", "declined", "no_access"),),
        on_node="kill -KILL $(pid {port}); ssh-keygen -q -t ed25519 -N '' -f /root/other_key;"
        " printf 'HostKey /root/other_key\\nPort 2222\\n' >/root/other.conf;"
        " /usr/sbin/sshd -f /root/other.conf;"
        " nft add table ip other; nft 'add chain ip other pre {{ type nat hook prerouting priority -100; }}';"
        " nft add rule ip other pre ip daddr {address} tcp dport 22 redirect to :2222",
    ),
    Row(
        "t_killed",
        "tunnel's process killed",
        "tunnel_down",
        "healthy",
        "warning",
        done=None,  # systemd opens it again within 5 s, or recovery does
        rebuilds=True,
        tunnel=True,
        on_monitor="kill -KILL $(systemctl show -p MainPID --value gpu-mesh-tunnel@{key})",
    ),
    Row(
        "t_stopped",
        "tunnel's unit stopped",
        "tunnel_down",
        "healthy",
        done=(REBUILT,),
        rebuilds=True,
        tunnel=True,
        on_monitor="systemctl stop gpu-mesh-tunnel@{key}",
    ),
    Row(
        "t_stranger",
        "tunnel's port taken by a web server",
        "tunnel_port_taken",
        done=(("rebuild_tunnel", "declined", "port_taken"),),
        tunnel=True,
        rebuilds=True,
        on_monitor="systemctl stop gpu-mesh-tunnel@{key};"
        " systemd-run --quiet --unit stranger-{key} python3 -m http.server --bind 127.0.0.1 {local}",
    ),
    Row(
        "t_silent",
        "tunnel's port taken by a silent stranger",
        "tunnel_port_taken",
        done=(("rebuild_tunnel", "declined", "port_taken"),),
        tunnel=True,
        rebuilds=True,
        on_monitor="systemctl stop gpu-mesh-tunnel@{key};"
        " systemd-run --quiet --unit stranger-{key} python3 -c"
        " 'import socket, time; s = socket.create_server((\"127.0.0.1\", {local})); time.sleep(9999)'",
    ),
    Row(
        "t_down",
        "Ollama behind the tunnel stopped",
        "remote_ollama_down",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        tunnel=True,
        on_node="systemctl stop ollama@{port}",
    ),
    Row(
        "t_hung",
        "Ollama behind the tunnel hangs",
        "timeout",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        tunnel=True,
        on_node="kill -STOP $(pid {port})",
    ),
    Row(
        "t_500",
        "HTTP 500 through the tunnel",
        "http_error",
        "healthy",
        done=(RESTARTED,),
        restarts=1,
        tunnel=True,
        on_node="fault {port} http_500",
    ),
)

SHARED = Row(
    "shared",
    "Ollama killed, two monitors watch it",
    "refused",
    "healthy",
    done=None,  # which of the two repairs it is not said
    restarts=1,
    on_node="will {port} DELAY=8; kill -KILL $(pid {port})",
)
"""Its Ollama needs a while to start, so that both find it down: exactly one restarts it."""

WELL = Row("well", "nothing is wrong", "", "healthy", "")
