"""The check as a whole: what it counts, and what it does not."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace

from gpu_mesh.standin.server import Standin
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from sites import Site, eventually


def test_what_the_monitor_itself_could_not_probe_counts_for_nothing_and_fails_the_check(
    standin: Callable[..., Standin], tmp_path: Path
) -> None:
    silent = standin(fault="hang")
    hosts = {f"n{number}": {"mesh_node_url": silent.url, "mesh_node_timeout": 1} for number in range(40)}
    no_brake = {"hosts": {"home": {"mesh_monitor_recovery_brake": 0}}}
    inventory = tmp_path / "mesh.yml"
    inventory.write_text(json.dumps({"mesh_nodes": {"hosts": hosts}, "mesh_monitors": no_brake}))
    command = [sys.executable, "-m", "gpu_mesh", "-i", inventory, "--state-dir", tmp_path / "state"]
    subprocess.run([*command, "status"], capture_output=True, check=False)  # reads the inventory

    def leave_few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    done = subprocess.run([*command, "check"], capture_output=True, text=True, preexec_fn=leave_few_files)
    assert done.returncode == 1
    nodes = json.loads((tmp_path / "state/state.json").read_text())["nodes"]
    assert 0 < len(nodes) < 40
    assert {node["cause"] for node in nodes.values()} == {"timeout"}
    state = json.loads((tmp_path / "state/state.json").read_text())
    told = [alert["text"] for alert in state["alerts"] if alert["kind"] == "monitor"]
    assert [text.partition(" (")[0] for text in told] == [
        f"The monitor itself could not probe {40 - len(nodes)} nodes"
    ]
    silent.fault = "none"
    subprocess.run([*command, "check"], capture_output=True, check=True)
    state = json.loads((tmp_path / "state/state.json").read_text())
    assert state["alerts"][-1]["text"] == "The monitor probes every node again"
    log = (tmp_path / "state/log/gpu-mesh.log").read_text()
    unprobed = [line for line in log.splitlines() if "event=probe_error" in line]
    assert len(unprobed) == 40 - len(nodes)
    assert 'reason="too many open files"' in unprobed[0]


def change(site: Site, key: str, **fields: object) -> None:
    with StateFile(site.state_dir, Log(site.folder / "log")).update(time.time()) as state:
        state.nodes[key] = replace(state.nodes[key], **fields)


def test_a_clock_that_was_ahead_does_not_keep_later_checks_from_counting(
    site: Site, standin: Callable[..., Standin]
) -> None:
    desk = standin()
    site.describe({"desk": {"url": desk.url}})
    site.check()
    change(site, "desk", last_check=time.time() + 3e7)
    desk.fault = "http_500"
    site.check()
    assert site.state().nodes["desk"].failures == 1


def test_a_node_that_leaves_the_inventory_is_remembered_for_a_day(
    site: Site, standin: Callable[..., Standin]
) -> None:
    both = {key: {"url": standin().url} for key in ("desk", "iceland")}
    site.describe(both)
    site.check()
    site.describe({"desk": both["desk"]})
    site.check()
    assert set(site.state().nodes) == {"desk", "iceland"}
    assert [node["node"] for node in site.status()["nodes"]] == ["desk"]
    change(site, "iceland", last_check=time.time() - 90_000)
    site.check()
    assert set(site.state().nodes) == {"desk"}


def test_a_check_that_stood_still_blames_no_node(site: Site, standin: Callable[..., Standin]) -> None:
    slow = standin(fault="hang")
    site.describe({"desk": {"url": slow.url, "timeout": 2}})
    checking = subprocess.Popen(site.command("check"), env=site.environment, stderr=subprocess.DEVNULL)
    assert eventually(lambda: slow.connections > 0)
    checking.send_signal(signal.SIGSTOP)
    slept = time.monotonic()
    assert eventually(lambda: time.monotonic() - slept > 5)
    checking.send_signal(signal.SIGCONT)
    assert checking.wait(30) == 1
    assert "desk" not in site.state().nodes
    assert any("the monitor itself stood still" in line for line in site.log())


def test_checks_that_do_not_keep_to_their_interval_say_so_in_log_and_status_until_they_do(
    site: Site, standin: Callable[..., Standin]
) -> None:
    slow = standin(fault="hang")
    site.describe({"desk": {"url": slow.url, "timeout": 1.2}}, check_interval=1)
    site.environment["GPU_MESH_RUN_PID"] = str(os.getpid())  # as a child of gpu-mesh run
    site.check()
    assert not any("event=check_overran" in line for line in site.log())
    site.check()
    (line,) = [line for line in site.log() if "event=check_overran" in line]
    assert "interval=1 nodes=1 silent=1" in line
    words = "raise mesh_monitor_check_interval; or lower mesh_node_timeout of nodes that stay silent"
    assert words in line
    said = site.run("status").stdout
    assert "Checks take longer than their interval: the last took 1." in said
    assert words in said
    assert not [alert for alert in site.state().alerts if not alert.node]
    slow.fault = "none"
    site.check()
    assert "Checks take longer" not in site.run("status").stdout
    assert sum("event=check_overran" in line for line in site.log()) == 1


def test_while_the_monitors_own_network_is_gone_no_remote_node_is_blamed(
    site: Site, standin: Callable[..., Standin]
) -> None:
    """The canary is a port that accepts, and later one that swallows packets: its backlog is full."""
    desk, here = standin(), standin()
    nodes = {
        "desk": {"url": desk.url, "timeout": 1, "ansible_connection": "ssh"},
        "here": {"url": here.url, "timeout": 1},
    }
    with ExitStack() as stack:
        canary = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = f"127.0.0.1:{canary.getsockname()[1]}"
        site.describe(nodes, canary=[place])
        site.check()
        while True:  # until nobody is let in any more
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(canary.getsockname())
            except TimeoutError:
                break
        desk.fault = here.fault = "hang"
        site.check(2)
        known = site.state()
        assert (known.nodes["desk"].failures, known.nodes["here"].failures) == (0, 2)
        assert [alert.text.partition(":")[0] for alert in known.alerts if not alert.node] == [
            "The monitor itself is offline"
        ]
        assert "The monitor itself is offline" in site.run("status").stdout
        plan = site.run("recover", "--dry-run").stdout.splitlines()
        assert plan[0] == "desk  -: nothing: the monitor itself is offline"
    site.check()  # the canary's port is closed now: that is an answer
    assert site.state().nodes["desk"].failures == 1
    assert any(alert.text.startswith("The monitor is online again") for alert in site.state().alerts)


def test_a_canary_that_never_answered_guards_nothing(
    site: Site, standin: Callable[..., Standin], silent_port: int
) -> None:
    desk = standin(fault="hang")
    node = {"url": desk.url, "timeout": 1, "ansible_connection": "ssh"}
    site.describe({"desk": node}, canary=[f"127.0.0.1:{silent_port}"])
    site.check()
    assert site.state().nodes["desk"].failures == 1


def test_the_heartbeats_url_may_stand_in_a_file_that_nobody_else_may_read(
    site: Site, standin: Callable[..., Standin]
) -> None:
    secret = site.folder / "heartbeat"
    site.describe({"desk": {"url": standin().url}}, heartbeat_url=f"@{secret}")
    site.ok("check")
    assert any("no such file or directory" in line for line in site.log() if "event=heartbeat_lost" in line)
    secret.write_text("http://127.0.0.1:9/\n")
    secret.chmod(0o644)
    site.ok("check")
    assert any("can be read by others" in line for line in site.log() if "event=heartbeat_lost" in line)
    switch = standin()
    secret.write_text(f"{switch.url}/ping/b7e1c0de\n")
    secret.chmod(0o600)
    site.ok("check")
    assert list(switch.paths) == ["/ping/b7e1c0de"]
    assert "b7e1c0de" not in "".join(path.read_text() for path in site.state_dir.glob("*.json"))


def test_each_check_sends_a_heartbeat_and_says_when_it_could_not_probe(
    site: Site, standin: Callable[..., Standin]
) -> None:
    switch, silent = standin(), standin(fault="hang")
    site.describe({"desk": {"url": standin().url}}, heartbeat_url=f"{switch.url}/ping/secret")
    site.check()
    assert list(switch.paths) == ["/ping/secret"]
    site.describe(
        {f"n{number}": {"url": silent.url, "timeout": 1} for number in range(40)},
        heartbeat_url=f"{switch.url}/ping/secret",
    )
    site.run("status")
    site.run("check", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))
    assert list(switch.paths) == ["/ping/secret", "/ping/secret/fail"]


def test_a_dead_mans_switch_that_hangs_or_refuses_costs_a_check_nothing_but_a_line_without_the_url(
    site: Site, standin: Callable[..., Standin]
) -> None:
    switch, desk = standin(fault="hang"), standin()
    site.describe({"desk": {"url": desk.url}}, heartbeat_url=f"{switch.url}/ping/secret")
    site.check()
    switch.fault = "http_500"
    site.check()
    assert site.state().nodes["desk"].statistics.checks == 2
    lost = [line for line in site.log() if "event=heartbeat_lost" in line]
    assert [line.partition("reason=")[2] for line in lost] == ["read_timeout", '"HTTP 500"']
    assert "secret" not in " ".join(site.log())
