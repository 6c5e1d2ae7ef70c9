"""The fault matrix: every row of probe/faults.py at once, each on a node of its own, under the real units.

All nodes but one share a machine and have an address each, so that the checker takes them for hosts of their
own. The table of what was found and done is written to $GPU_MESH_REPORT, else to tests/hosts/report.
"""

import datetime
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import machines
import provision
import pytest
import trustme
import yaml
from faults import ROWS, SHARED, WELL, Row

from checkout import PROGRAMS
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.storage.state_file import decode

if TYPE_CHECKING:
    from gpu_mesh.domain.alert import Alert

NODES = (SHARED, *ROWS, WELL)
REPORT = Path(os.environ.get("GPU_MESH_REPORT", Path(__file__).parent / "report"))
UNIT = """[Unit]
Description=Stand-in for Ollama
[Service]
Environment=PYTHONPATH=/opt/ollama
ExecStart=/bin/sh /opt/ollama/serve_standin.sh %i
[Install]
WantedBy=multi-user.target
"""
RULE = """polkit.addRule(function (action, subject) {
  if (action.id === "org.freedesktop.systemd1.manage-units" && subject.user === "keeper" &&
      action.lookup("unit").startsWith("ollama@") &&
      ["start", "restart", "reset-failed"].indexOf(action.lookup("verb")) >= 0) {
    return polkit.Result.YES;
  }
  return polkit.Result.NOT_HANDLED;
});
"""
SETTINGS = {
    "check_interval": 2,
    "recover_interval": 5,
    "grace": 0,
    "deep_interval": 1,
    "recovery_brake": 0,
    "recovery_max_attempts": 1,
    "recovery_backoff": 60,
    "recovery_patience": 8,
    "recovery_settle": 8,
}


class Matrix:
    """A monitor, a hall of nodes, one node apart; and what became of the faults."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.site = site
        self.operator = operator
        self.monitor, self.hall, self.annex = site.boot("tower", "hall", "annex")
        self.faulted: dict[str, float] = {}  # when, Unix seconds, by node
        self.alerts: dict[int, Alert] = {}
        self.causes: dict[str, str] = {}  # the last that a check named
        self.before: dict[str, str] = {}  # main processes
        self.after: dict[str, str] = {}

    def machine(self, row: Row) -> machines.Machine:
        return self.annex if row.machine == "annex" else self.hall

    def values(self, row: Row) -> dict[str, str]:
        number = NODES.index(row)
        network = self.hall.address.rpartition(".")[0]
        address = self.annex.address if row.machine == "annex" else f"{network}.{100 + number}"
        return {
            "key": row.key,
            "port": str(12000 + number),
            "address": address,
            "local": str(8100 + number) if row.tunnel else "",
        }

    def describe(self, row: Row, key: Path) -> dict[str, object]:
        """Return the node's variables. The login of recovery is given, so that no role runs on it."""
        at = self.values(row)
        address, port = at["address"], at["port"]
        machine = self.machine(row)
        described: dict[str, object] = {
            "ansible_host": address,
            "mesh_node_unit": f"ollama@{port}.service",
            "mesh_node_recovery_user": "keeper",
            "mesh_node_recovery_key": str(key),
            "mesh_node_host_key": (machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip(),
        }
        if row.tunnel:
            described |= {
                "mesh_tunnel_host": address,
                "mesh_tunnel_local_port": int(at["local"]),
                "mesh_tunnel_remote_port": int(port),
            }
        else:
            described["mesh_node_url"] = f"{row.scheme}://{row.host or address}:{port}"
        return described

    def state(self) -> State:
        """Read the state, and remember what will be forgotten there."""
        try:
            state = decode((self.monitor.root / "var/lib/gpu-mesh/state.json").read_bytes())
        except FileNotFoundError:
            return State()
        self.alerts |= {alert.id: alert for alert in state.alerts}
        for key, known in state.nodes.items():
            if known.cause and known.last_check > self.faulted.get(key, float("inf")):
                self.causes[key] = known.cause
        return state

    def known(self, row: Row) -> NodeState:
        return self.state().nodes.get(row.key) or NodeState()

    def recoveries(self, row: Row) -> list[dict[str, str]]:
        """Return what the log says of how the node's recoveries ended."""
        log = (self.monitor.root / "var/log/gpu-mesh/gpu-mesh.log").read_text().splitlines()
        said = (
            dict(pair.partition("=")[::2] for pair in shlex.split(line)) for line in log if "verified" in line
        )
        return [words for words in said if words.get("node") == row.key and "outcome" in words]

    def cause(self, row: Row) -> str:
        """Return the cause found in the end: that of a node which still fails, of the repair, of a check."""
        known = self.known(row)
        if known.cause and row.ends != "healthy":
            return known.cause
        done = self.recoveries(row)
        return done[-1]["cause"] if done else self.causes.get(row.key, "")

    def done(self, row: Row) -> list[tuple[str, str, str]]:
        """Return its recoveries; one that was declined for the same reason again, once."""
        found: list[tuple[str, str, str]] = []
        for words in self.recoveries(row):
            each = (words["action"], words["outcome"], words["finding"])
            if not (each[1] == "declined" and each in found):
                found.append(each)
        return found

    def is_over(self, row: Row) -> bool:
        """Tell whether what must come of the fault has come."""
        known = self.known(row)
        if row.key not in self.faulted or known.last_check < self.faulted[row.key] or known.recovery.claim:
            return False
        if row.done and len(self.done(row)) < len(row.done):
            return False
        if row.ends == "offline":
            return known.status in (Status.UNHEALTHY, Status.OFFLINE)
        if row.told and row.key not in self.causes:
            return False
        return known.status.value == row.ends and (not row.told or self.told(row, row.told) is not None)

    def told(self, row: Row, level: str = "") -> float | None:
        """Return the seconds from the fault to the first alert (of that level) about the node."""
        begun = self.faulted[row.key]
        times = (
            alert.at - begun
            for alert in self.alerts.values()
            if alert.node == row.key and alert.at >= begun and level in ("", alert.level.value)
        )
        return min(times, default=None)

    def serving(self, row: Row) -> float | None:
        """Return the seconds from the fault until the node was healthy again; None: it is not, or was."""
        known, begun = self.known(row), self.faulted[row.key]
        return known.since - begun if known.status is Status.HEALTHY and known.since > begun else None

    def restarts(self, row: Row) -> int:
        """Return how often its Ollama was started since the fault."""
        unit = f"ollama@{self.values(row)['port']}.service"
        # The fault itself may start it, is noted down afterwards, and reaches the journal a moment later.
        since = f"@{self.faulted[row.key] + 0.5:.6f}"
        command = [
            *("journalctl", "--directory", self.machine(row).root / "var/log/journal", "--quiet"),
            *("--output=cat", f"--since={since}", f"UNIT={unit}"),
        ]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return sum(line.startswith("Started ") for line in lines)

    def processes(self) -> dict[str, str]:
        """Return the main processes of all units that are concerned, by unit."""
        found = {}
        for machine, units in (
            (self.hall, "'ollama@*'"),
            (self.monitor, "'gpu-mesh-tunnel@*' 'stranger-*'"),
        ):
            for block in machine.out(f"systemctl show -p Id,MainPID {units}").split("\n\n"):
                pairs = dict(line.split("=", 1) for line in block.splitlines())
                found[pairs["Id"]] = pairs["MainPID"]
        return found

    def strike(self, *rows: Row) -> None:
        """Make the faults of these rows, and note when each was made."""
        for machine in (self.hall, self.annex, self.monitor):
            script = [(PROGRAMS / name).read_text() for name in ("faults.sh", "give_up.sh")]
            for row in rows:
                shell = row.on_monitor if machine is self.monitor else row.on_node
                if shell and machine in (self.monitor, self.machine(row)):
                    script.append(f"{shell.format(**self.values(row))}\necho {row.key} $(date +%s.%N)")
            for line in machine.out("\n".join(script)).splitlines() if script[2:] else ():
                key, at = line.split()
                self.faulted[key] = float(at)


def _unix(timestamp: str) -> float:
    return datetime.datetime.fromisoformat(timestamp).timestamp()


def _furnish(matrix: Matrix, key: Path) -> None:
    """Make the nodes' Ollamas, the login of recovery, and the names that some nodes have."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    _certify(matrix.hall.root / "etc/standin", matrix.operator.folder)
    for machine in (matrix.hall, matrix.annex):
        rows = [row for row in NODES if matrix.machine(row) is machine]
        provision.bring_standin(machine)
        for name in ("serve_standin.sh", "serve_standin.py", "set_fault.py"):
            shutil.copy(PROGRAMS / name, machine.root / "opt/ollama")
        (machine.root / "etc/systemd/system/ollama@.service").write_text(UNIT)
        (machine.root / "etc/polkit-1/rules.d/60-keeper.rules").write_text(RULE)
        (machine.root / "etc/ssh/sshd_config.d/many.conf").write_text("MaxStartups 200\nMaxSessions 50\n")
        (machine.root / "etc/standin").mkdir(exist_ok=True)
        for row in rows:
            begun = "TLS=good\n" if row.scheme == "https" else ""
            (machine.root / "etc/standin" / matrix.values(row)["port"]).write_text(begun)
        addresses = [matrix.values(row)["address"] for row in rows]
        units = " ".join(f"ollama@{matrix.values(row)['port']}" for row in rows)
        machine.ssh(
            "".join(f"ip address add {each}/24 dev eth0;" for each in addresses if each != machine.address)
            + "useradd -m -s /bin/sh keeper && install -d -m 700 -o keeper /home/keeper/.ssh"
            f" && echo {shlex.quote(key.with_suffix('.pub').read_text().strip())}"
            " >/home/keeper/.ssh/authorized_keys && systemctl restart ssh && systemctl daemon-reload"
            f" && systemctl enable --quiet --now {units}"
        )
    with (matrix.monitor.root / "etc/hosts").open("a") as hosts:
        for row in NODES:
            if row.host:
                hosts.write(f"{matrix.values(row)['address']} {row.host}\n")


def _certify(folder: Path, operator: Path) -> None:
    """Make a good certificate, one that has expired, and one for another name."""
    folder.mkdir()
    authority = trustme.CA()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    for name, certificate in (
        ("good", authority.issue_cert("expired.mesh", "wrong.mesh")),
        (
            "expired",
            authority.issue_cert("expired.mesh", not_before=past, not_after=past + datetime.timedelta(1)),
        ),
        ("other", authority.issue_cert("other.mesh")),
    ):
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    authority.cert_pem.write_to_path(str(operator / "ca.pem"))


@pytest.fixture(scope="module")
def matrix(site: machines.Site) -> Iterator[Matrix]:
    operator = provision.Operator(site, site.folder / "matrix")
    made = Matrix(site, operator)
    key = operator.folder / "keeper"
    _furnish(made, key)
    with provision.web(site.address, site.folder) as canary:
        apprise = operator.folder / "apprise.yml"
        apprise.write_text(
            f"urls: ['json://{canary.address}/alerts': {{tag: [info, warning, error, critical]}}]\n"
        )
        operator.inventory = {
            "all": {"vars": {"ansible_user": "admin"}},
            "mesh_monitors": {
                "hosts": {
                    "tower": {
                        "ansible_host": made.monitor.address,
                        "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                        "mesh_monitor_apprise_source": str(apprise),
                        "mesh_monitor_canary": [canary.address],
                        **{f"mesh_monitor_{name}": value for name, value in SETTINGS.items()},
                    }
                }
            },
            "mesh_nodes": {
                "hosts": {row.key: made.describe(row, key) for row in NODES},
                "vars": {"mesh_node_timeout": 2, "mesh_node_ca_file": "/etc/gpu-mesh-ca.pem"},
            },
        }
        (made.monitor.root / "etc/gpu-mesh-ca.pem").write_text((operator.folder / "ca.pem").read_text())
        yield made
    for machine in (made.monitor, made.hall, made.annex):
        machine.halt()


def _second_monitor(matrix: Matrix) -> None:
    """Start one in the foreground, with a state of its own, that watches the shared node alone."""
    root = matrix.monitor.root
    inventory = yaml.safe_load((root / "etc/gpu-mesh/inventory/mesh.yml").read_text())
    hosts = inventory["mesh_nodes"]["hosts"]
    inventory["mesh_nodes"]["hosts"] = {SHARED.key: hosts[SHARED.key]}
    (root / "etc/gpu-mesh-twin.yml").write_text(yaml.safe_dump(inventory))
    matrix.monitor.ssh(
        "install -d -o gpu-mesh -g gpu-mesh /var/lib/gpu-mesh-twin && systemd-run --quiet --unit=twin"
        " -p User=gpu-mesh gpu-mesh -i /etc/gpu-mesh-twin.yml --state-dir /var/lib/gpu-mesh-twin run"
    )


def _pretend(matrix: Matrix, row: Row, changes: str) -> None:
    """Change what is remembered of a node, for what would take minutes."""
    (matrix.monitor.root / "opt/pretend.py").write_text(
        "import time, pathlib, msgspec\n"
        "from gpu_mesh.system import log\nfrom gpu_mesh.storage import state_file as statefile\n"
        "file = statefile.StateFile(pathlib.Path('/var/lib/gpu-mesh'), log.Log(pathlib.Path('/dev/null')))\n"
        "with file.update(time.time()) as state:\n"
        f"    known = state.nodes['{row.key}']\n"
        f"    state.nodes['{row.key}'] = msgspec.structs.replace(known, {changes})\n"
    )
    python = "$(dirname $(readlink -f /usr/local/bin/gpu-mesh))/python"
    matrix.monitor.ssh(f"cd / && runuser -u gpu-mesh -- {python} /opt/pretend.py")


@pytest.fixture(scope="module")
def played(matrix: Matrix, measured: list[str]) -> Matrix:
    """The mesh after every fault was made, and what should come of each has come, or should have."""
    play = matrix.operator.play("playbooks/monitor.yml")
    measured.append(f"fault matrix, monitor.yml from nothing: {play.seconds:.0f} s")
    for row in NODES:
        machines.await_that(
            lambda row=row: matrix.known(row).status is Status.HEALTHY, 60, f"{row.key} is healthy"
        )
        # Only a second check of a loaded model says what is usual for it in VRAM.
        machines.await_that(
            lambda row=row: matrix.known(row).statistics.checks >= 2, 60, f"{row.key} is checked twice"
        )
    _second_monitor(matrix)
    twin = matrix.monitor.root / "var/lib/gpu-mesh-twin/state.json"
    machines.await_that(twin.exists, 30, "the second monitor has checked")
    loading, slow = (next(row for row in ROWS if row.cause == cause) for cause in ("loading", "slow"))
    # From so many on it is known what is usual.
    _pretend(matrix, slow, "statistics=msgspec.structs.replace(known.statistics, successes=20)")
    matrix.before = matrix.processes()
    matrix.strike(*NODES[:-1])
    machines.await_that(lambda: matrix.known(loading).loading_since, 30, "a check has seen it load")
    _pretend(matrix, loading, "loading_since=time.time() - 360")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not all(matrix.is_over(row) for row in NODES[:-1]):
        time.sleep(0.3)
    measured.append(
        f"fault matrix, all {len(NODES) - 1} stories: {time.time() - min(matrix.faulted.values()):.0f} s"
    )
    matrix.faulted[WELL.key] = min(matrix.faulted.values())
    matrix.after = matrix.processes()
    _write_report(matrix, measured)
    return matrix


def _write_report(matrix: Matrix, measured: list[str]) -> None:
    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    lines = [
        "| fault | cause found | recoveries | Ollama's restarts | first alert, s | ERROR, s | serving, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in NODES[:-1]:
        done = "; ".join(f"{action}: {outcome} ({found})" for action, outcome, found in matrix.done(row))
        cells = [
            row.what,
            matrix.cause(row) or "none",
            done or "none",
            str(matrix.restarts(row)),
            seconds(matrix.told(row)),
            seconds(matrix.told(row, "error")),
            seconds(matrix.serving(row)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "fault_matrix.md").write_text("\n".join(lines) + "\n")
    measured.extend(["fault matrix:", *lines])


@pytest.mark.parametrize("row", NODES, ids=lambda row: row.key)
def test_a_fault_is_named_met_and_ends_as_the_matrix_says(played: Matrix, row: Row) -> None:
    assert (played.cause(row), played.known(row).status.value.replace("unhealthy", "offline")) == (
        row.cause,
        row.ends,
    )
    if row.done is not None:
        assert sorted(played.done(row)) == sorted(row.done), played.recoveries(row)
    if row.told:
        assert played.told(row, row.told) is not None
    else:
        assert played.told(row) is None


@pytest.mark.parametrize("row", NODES, ids=lambda row: row.key)
def test_ollama_is_started_exactly_as_often_as_that_helps(played: Matrix, row: Row) -> None:
    assert played.restarts(row) == row.restarts
    unit = f"ollama@{played.values(row)['port']}.service"
    touching = ("kill -KILL", "systemctl", "restart", "given_up")
    touched_by_the_fault = any(word in row.on_node for word in touching)
    if not row.restarts and not touched_by_the_fault:
        assert played.after[unit] == played.before[unit] != "0"


@pytest.mark.parametrize("row", [row for row in NODES if row.tunnel], ids=lambda row: row.key)
def test_a_tunnel_is_rebuilt_only_where_it_is_at_fault(played: Matrix, row: Row) -> None:
    unit = f"gpu-mesh-tunnel@{row.key}.service"
    if row.cause == "tunnel_port_taken":
        assert played.after[f"stranger-{row.key}.service"] != "0"
        assert played.after.get(unit, "0") == "0"
    else:
        assert (played.after[unit] != played.before[unit]) is row.rebuilds


def test_of_two_monitors_one_restarts_a_node_and_the_other_leaves_it_alone(played: Matrix) -> None:
    assert played.restarts(SHARED) == 1
    places = ("var/log/gpu-mesh", "var/lib/gpu-mesh-twin")
    logs = [log for place in places for log in (played.monitor.root / place).rglob("gpu-mesh.log")]
    said = "".join(log.read_text() for log in logs)
    claims = [line for line in said.splitlines() if "event=recovery_claimed node=shared" in line]
    assert len(claims) == 2, "both meant to repair it"
    assert said.count("finding=leased") >= 1


def test_a_monitor_without_a_network_counts_nothing_and_repairs_nothing(played: Matrix) -> None:
    assert played.state().canaries
    cut = (
        "nft add table inet cut && nft 'add chain inet cut out { type filter hook output priority 0; }'"
        " && nft add rule inet cut out tcp sport 22 accept && nft add rule inet cut out oif lo accept"
        " && nft add rule inet cut out drop"
    )
    played.monitor.ssh(cut)
    machines.await_that(lambda: played.state().offline_since, 60, "the monitor knows that it is offline")
    machines.await_that(
        lambda: not any(known.recovery.claim for known in played.state().nodes.values()),
        60,
        "no recovery is under way",
    )
    counts = {key: known.statistics.checks for key, known in played.state().nodes.items()}
    offline, ticks = played.state().offline_since, played.state().tick.at
    machines.await_that(lambda: played.state().tick.at > ticks + 5, 60, "some checks more")
    state = played.state()
    assert {key: known.statistics.checks for key, known in state.nodes.items()} == counts
    assert state.nodes[WELL.key].status is Status.HEALTHY
    assert [line for line in _claims(played) if _unix(line.split()[0].removeprefix("ts=")) > offline] == []
    assert sum("monitor itself is offline" in alert.text for alert in played.alerts.values()) == 1
    played.monitor.ssh("nft delete table inet cut")
    machines.await_that(lambda: not played.state().offline_since, 60, "the monitor is online again")
    machines.await_that(
        lambda: played.known(WELL).statistics.checks > counts[WELL.key], 30, "nodes are counted again"
    )


def _claims(matrix: Matrix) -> list[str]:
    log = (matrix.monitor.root / "var/log/gpu-mesh/gpu-mesh.log").read_text()
    return [line for line in log.splitlines() if "event=recovery_claimed" in line]
