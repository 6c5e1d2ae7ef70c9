"""The real command, from the command line to what it prints, leaves behind and exits with."""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkout import PROGRAMS, ROOT
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation, Reply
from gpu_mesh.standin.server import free_port
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log
from marks import soak
from sites import eventually

SAMPLE = ROOT / "inventory"
HEAVY = ("ansible", "ansible_runner", "apprise", "jinja2", "yaml")
DOCUMENTED = {
    "node", "name", "url", "status", "cause", "consecutive_failures", "response_ms", "success_rate", "score",
    "models", "loaded", "last_check",
}  # fmt: skip


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def two_nodes(site, standin, **variables):
    """Describe a healthy node with two models and one that refuses."""
    desk = standin(models=("llama3.2:latest", "qwen3:8b"), loaded=("qwen3:8b",))
    closed = free_port()
    site.describe(
        {
            "desk": {"url": desk.url, "name": "Desk"},
            "iceland": {"url": f"http://127.0.0.1:{closed}", "name": "Iceland", **variables},
        }
    )
    return desk


# The sample inventory, and what becomes of nodes on which nothing listens.


def test_the_sample_mesh_with_nothing_listening_becomes_unhealthy_and_then_offline(site, closed_port):
    site.inventory = site.folder / "inventory"
    shutil.copytree(SAMPLE, site.inventory)
    file = site.inventory / "mesh.yml"  # others may listen at the usual ports
    name, url = "mesh_node_name: Local GPU", f"mesh_node_url: http://127.0.0.1:{closed_port}"
    text = file.read_text().replace("8080", str(free_port())).replace(name, f"{name}\n      {url}")
    file.write_text(text)
    site.check(3)
    status = site.run("status")
    assert status.returncode == 2
    assert re.search(r"🔴 +Local GPU +unhealthy", status.stdout)
    assert re.search(r"🔴 +Iceland +unhealthy", status.stdout)
    assert "Connection refused (3 failures in a row)" in status.stdout
    assert "next: see why Ollama stopped: sudo journalctl -u ollama.service on the monitor" in status.stdout
    assert re.search(r"Tunnel down, port \d+ is closed \(3 failures in a row\)", status.stdout)
    assert "next: see on the monitor: journalctl -u gpu-mesh-tunnel@iceland" in status.stdout
    assert (site.state_dir / "recover.wanted").exists()
    site.check(2)
    assert {node["status"] for node in site.status()["nodes"]} == {"offline"}
    assert "alerts muted: new node, never healthy yet" in site.run("status").stdout
    assert site.state().alerts == []


# Reports.


def test_reports_name_the_documented_fields_and_print_nothing_that_acts_on_a_terminal(site, standin):
    two_nodes(site, standin)
    site.check()
    status = site.run("status", "--json")
    assert status.returncode == 1
    document = json.loads(status.stdout)
    assert document["schema"] == 2
    assert {"health", "stale", "last_check", "interval", "inventory_error"} <= set(document["mesh"])
    desk, iceland = document["nodes"]
    assert set(desk) >= DOCUMENTED
    assert desk["models"] == ["llama3.2:latest", "qwen3:8b"]
    assert (desk["status"], desk["loaded"], desk["success_rate"]) == ("healthy", ["qwen3:8b"], 100.0)
    (loaded,) = desk["loaded_models"]
    assert (loaded["name"], loaded["size_vram"]) == ("qwen3:8b", loaded["size"])
    assert loaded["context_length"] > 0
    assert loaded["expires_at"] > time.time()
    assert (desk["cloud_models"], iceland["loaded_models"]) == ([], [])
    assert (iceland["status"], iceland["cause"], iceland["consecutive_failures"]) == (
        "degraded",
        "refused",
        1,
    )
    stats = json.loads(site.ok("stats", "--json"))
    assert [node["score"] for node in stats["nodes"]] == [100.0, 0.0]
    assert "statistics" not in "".join(site.log())
    printed = [site.run(*words.split()).stdout for words in ("status", "stats", "dashboard", "alerts list")]
    printed += [site.ok("validate")]
    assert all("iceland" in text.lower() for text in printed)
    assert "\x1b" not in "".join(printed)


def test_every_line_of_the_dashboard_begins_with_its_word_and_lands_in_the_log(site, standin):
    two_nodes(site, standin)
    site.check()
    lines = site.ok("dashboard").splitlines()
    assert all(line.startswith("DASHBOARD ") for line in lines)
    assert "mesh health 75.0%, 1 of 2 nodes healthy" in lines[0]
    assert "1 warning" in "".join(lines)
    logged = [line for line in site.log() if "DASHBOARD" in line]
    assert len(logged) == len(lines)
    assert site.ok("stats").startswith("Mesh health 75.0%")
    assert sum("event=statistics node=" in line for line in site.log()) == 2


def test_a_mesh_that_nobody_has_checked_lately_is_stale(site, standin):
    two_nodes(site, standin)
    assert site.run("status").returncode == 3
    site.check()
    with StateFile(site.state_dir, Log(site.paths.log_file)).update(time.time()) as state:
        state.tick = type(state.tick)(at=time.time() - 100, interval=30.0)
    status = site.run("status")
    assert status.returncode == 3
    assert "STALE: nobody watches the mesh" in status.stdout
    assert f"start it: gpu-mesh -i {site.inventory} --state-dir {site.state_dir} run" in status.stdout
    best = site.run("best")
    assert (best.returncode, best.stdout) == (1, "")
    assert "nobody has checked the mesh lately" in best.stderr


def test_best_prints_the_url_to_use_or_says_why_there_is_none(site, standin):
    desk = two_nodes(site, standin)
    site.check()
    assert site.ok("best") == f"{desk.url}\n"
    assert site.ok("best", "--model", "qwen3:8b") == f"{desk.url}\n"
    assert json.loads(site.ok("best", "--json"))["node"] == "desk"
    other = site.run("best", "--model", "gpt-oss")
    assert (other.returncode, other.stdout) == (1, "")
    assert "no node serves and has the model gpt-oss" in other.stderr
    near = site.run("best", "--model", "qwen3")
    assert "no node serves and has the model qwen3; there is qwen3:8b" in near.stderr
    assert "did you mean llama3.2:latest?" in site.run("best", "--model", "lama3.2:latest").stderr
    explained = site.ok("best", "--model", "qwen3:8b", "--explain").splitlines()
    assert re.match(r"1 +desk +healthy +100% in VRAM +– +100 +\d+ ms +http://", explained[1])
    assert re.search(r"– +iceland .*it is degraded: Connection refused$", explained[2])
    ranking = json.loads(site.ok("best", "--count", "2", "--json"))
    assert [(each["node"], each["why_not"]) for each in ranking["nodes"]] == [("desk", "")]
    assert site.run("best", "--count", "0").returncode == 2
    desk.fault = "http_500"
    site.check()
    none = site.run("best")
    assert (none.returncode, none.stdout) == (1, "")
    again = f"gpu-mesh -i {site.inventory} --state-dir {site.state_dir} status"
    assert none.stderr == f"gpu-mesh: no node serves; see: {again}\n"


def test_best_names_a_node_that_serves_where_none_is_healthy_and_says_what_is_wrong_with_it(site, standin):
    desk = standin()
    site.describe({"desk": {"url": desk.url, "expected_models": ["gpt-oss"]}})
    site.check()
    found = site.run("best")
    assert (found.returncode, found.stdout) == (0, f"{desk.url}\n")
    assert found.stderr == (
        "gpu-mesh: no node that fits is healthy; desk is degraded: Models are missing (gpt-oss)\n"
    )
    assert json.loads(site.ok("best", "--json"))["cause"] == "models_missing"
    strict = site.run("best", "--healthy-only")
    assert (strict.returncode, strict.stdout) == (1, "")
    assert "no node is healthy; see: " in strict.stderr


def test_a_reader_who_leaves_early_is_not_told_of(site, standin):
    two_nodes(site, standin)
    site.check()
    for words in (["status"], ["status", "--json"], ["validate"]):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing) as pipe:
            done = site.run(*words, capture_output=False, stdout=pipe, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_locale_without_icons_ends_no_report(site, standin):
    two_nodes(site, standin)
    site.check()
    done = site.run("status", env={**site.environment, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"\\U0001f7e2 +Desk +\d+ ms", done.stdout)


# Status.


def test_the_status_of_a_node_has_what_is_known_of_it_and_its_own_exit_status(site, standin):
    desk = two_nodes(site, standin)
    site.check(2)
    said = site.ok("status", "desk")
    assert f"address   {desk.url}" in said
    assert "● qwen3:8b" in said
    assert "2 there: llama3.2:latest, qwen3:8b" in said
    assert "Iceland" not in said
    down = site.run("status", "iceland")
    assert down.returncode == 1
    assert "   recovery: nothing: " in down.stdout
    (node,) = json.loads(site.run("status", "iceland", "--json").stdout)["nodes"]
    assert node["node"] == "iceland"
    assert "🟡 Iceland is degraded" in site.run("status", "ICELAND").stdout
    assert (
        "there is no node 'iselan' in the inventory; did you mean iceland?"
        in site.run("status", "iselan").stderr
    )


def test_that_nobody_is_told_of_anything_is_said_before_anything_was_delivered(site, standin):
    two_nodes(site, standin)
    site.check()
    nobody = "⚠️ Nobody is told of anything: there is no URL that alerts go to; see: gpu-mesh -i "
    assert nobody in site.run("status").stdout
    site.alerts_go_to("json://127.0.0.1:1")
    assert "Nobody is told" not in site.run("status").stdout
    site.run("deliver")
    assert "Nobody is told" not in site.run("status").stdout
    (site.paths.config / "apprise.yml").unlink()
    site.ok("deliver")
    assert nobody in site.run("status").stdout
    site.alerts_go_to("json://127.0.0.1:1")  # nobody has counted its URLs yet
    assert "Nobody is told" not in site.run("status").stdout


def test_what_happened_recently_is_told_as_far_as_it_is_asked_for(site, standin):
    two_nodes(site, standin)
    site.check(2)
    told = site.run("status").stdout.partition("Recently:\n")[2].splitlines()
    assert len(told) in (3, 4)  # on a slow machine the first failure and its alert are not at once
    assert "🔔  Iceland  warning: degraded: " in told[-1]
    (last,) = site.run("status", "--log", "1").stdout.partition("Recently:\n")[2].splitlines()
    assert last.partition(" ago")[2] == told[-1].partition(" ago")[2]
    assert "Recently" not in site.run("status", "--log", "0").stdout


def test_without_a_history_the_recent_alerts_are_told(site):
    site.describe({"iceland": {"url": f"http://127.0.0.1:{free_port()}", "name": "Iceland"}}, history_max=0)
    site.check(2)
    told = site.run("status").stdout.partition("Recently:\n")[2].splitlines()
    assert [line.partition("🔔  ")[2] for line in told] == ["Iceland  warning: degraded: Connection refused"]


# The tick.


def test_a_disabled_node_is_not_asked_and_a_removed_one_not_shown(site, standin):
    desk, iceland = standin(), standin()
    nodes = {"desk": {"url": desk.url}, "iceland": {"url": iceland.url}}
    site.describe(nodes)
    site.check()
    assert set(site.state().nodes) == {"desk", "iceland"}
    asked = iceland.connections
    nodes["iceland"]["enabled"] = False
    site.describe(nodes)
    site.check()
    assert iceland.connections == asked
    assert site.run("status").returncode == 0
    assert "disabled" in site.run("status").stdout
    site.describe({"desk": nodes["desk"]})
    site.check()
    assert "Iceland" not in site.run("status").stdout


def test_a_node_that_a_recovery_looked_at_meanwhile_is_not_counted_twice(site, standin):
    slow, other = standin(), standin()
    site.describe({"slow": {"url": slow.url}, "other": {"url": other.url}})
    site.check()
    slow.fault, asked = "hang", slow.connections
    with subprocess.Popen(site.command("check"), env=site.environment) as checking:
        assert eventually(lambda: slow.connections > asked)
        with StateFile(site.state_dir, Log(site.paths.log_file)).update(time.time()) as state:
            seen = Observation("slow", time.time(), Reply(status=200))
            evaluate.apply_observation(state, Node("slow", "slow", slow.url), seen)
        slow.fault = "none"
        assert checking.wait(30) == 0
    assert [site.state().nodes[key].statistics.checks for key in ("slow", "other")] == [2, 2]
    assert site.state().nodes["slow"].last_check == seen.at


def test_a_check_loads_nothing_heavy_and_reads_an_unchanged_inventory_but_once(site, standin):
    two_nodes(site, standin)
    site.program = [sys.executable, str(PROGRAMS / "watched_command.py"), ",".join(HEAVY)]
    assert [site.ok("check").strip() for _ in range(3)] == ["0 [] 1", "0 [] 0", "0 [] 0"]
    os.utime(site.inventory, (1, 1))
    assert site.ok("check").strip() == "0 [] 1"


def test_a_recovery_loads_no_http_library_while_nothing_is_due(site, standin):
    two_nodes(site, standin)
    site.ok("check")
    watched = [sys.executable, str(PROGRAMS / "watched_command.py")]
    site.program = [*watched, ",".join((*HEAVY, "requests", "urllib3"))]
    assert site.ok("recover").strip() == "0 [] 0"


# The inventory.


def test_a_broken_edit_keeps_the_last_good_mesh_and_alerts_once_and_once_when_mended(site, standin):
    desk = two_nodes(site, standin)
    site.check()
    good = site.inventory.read_text()
    site.describe({"desk": {"url": desk.url, "timeout": "soon"}})
    site.check(2)
    status = site.run("status")
    assert "The inventory's newest edit is not in force" in status.stdout
    assert "desk: mesh_node_timeout must be" in status.stdout
    assert "Iceland" in status.stdout
    assert site.status()["nodes"][0]["status"] == "healthy"
    site.inventory.write_text(good)
    site.check(2)
    assert site.status()["mesh"]["inventory_error"] == ""
    broken, mended = (alert for alert in site.state().alerts if not alert.node)
    assert (broken.level, mended.level) == (Level.ERROR, Level.INFO)
    assert "mesh_node_timeout" in broken.text
    assert broken.next_step == f"fix it and try: gpu-mesh -i {site.inventory} validate"


def test_an_inventory_that_was_never_good_is_told_with_all_its_mistakes(site):
    site.describe({"desk": {"timeout": "soon", "tiemout": 3}, "iceland": {"parent": "nobody"}})
    for command in ("check", "status", "run", "validate"):
        done = site.run(command)
        assert (done.returncode, done.stdout) == (3 if command == "status" else 2, ""), command
        for said in ("mesh_node_timeout", "mesh_node_tiemout", "iceland: mesh_node_parent"):
            assert said in done.stderr, command
        assert "Traceback" not in done.stderr, command


def test_validate_prints_the_mesh_of_the_sample_or_as_json(site):
    site.inventory = SAMPLE
    assert "2 nodes, watched by monitor, no mistakes" in site.ok("validate")
    assert [node["key"] for node in json.loads(site.ok("validate", "--json"))["nodes"]] == [
        "local",
        "iceland",
    ]
    site.inventory = site.folder / "nowhere.yml"
    assert site.run("validate").returncode == 2


# The state.


def test_a_damaged_state_file_is_set_aside_with_an_alert_and_monitoring_goes_on(site, standin):
    two_nodes(site, standin)
    site.check(2)
    site.paths.state_file.write_bytes(b'{"schema": 1, "nodes":')
    assert site.run("status").returncode == 1
    site.check()
    (aside,) = site.state_dir.glob("state.damaged-*.json")
    assert aside.read_bytes() == b'{"schema": 1, "nodes":'
    assert site.state().nodes["desk"].statistics.checks == 2
    assert any(str(aside) in alert.text for alert in site.state().alerts)


READ_ONLY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
READ_ONLY += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize("exists", [True, False], ids=["existing", "missing"])
def test_somebody_who_may_not_write_the_state_is_told_the_right_command(site, standin, exists):
    """The other user may read everything, so that a Python in a closed home can be run."""
    two_nodes(site, standin)
    if exists:
        site.check()
    site.folder.chmod(0o700)
    site.program = [*READ_ONLY, *site.program]
    done = site.run("check")
    assert done.returncode == 2
    assert "cannot be written: Permission denied" in done.stderr
    assert (
        f"run it as the owner of {site.folder if not exists else site.state_dir}: sudo gpu-mesh -i "
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    if exists:
        assert site.run("status").returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_becomes_the_owner_of_the_state_even_one_without_a_name(site):
    site.state_dir.mkdir()
    os.chown(site.state_dir, 12345, 12345)
    program = [sys.executable, PROGRAMS / "become_owner.py", site.state_dir]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout == f"12345 12345 [] {site.state_dir}\n"
    # With a name, the group is the owner's own: that of the folder may be the readers'.
    daemon = pwd.getpwnam("daemon")
    os.chown(site.state_dir, daemon.pw_uid, 12345)
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout == f"{daemon.pw_uid} {daemon.pw_gid} [{daemon.pw_gid}] {daemon.pw_dir}\n"


# Recovery and alerts by hand.


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(site, standin):
    two_nodes(site, standin, recovery="command", recovery_command="touch /nowhere/touched")
    site.check(3)
    before = files_of(site.state_dir)
    said = site.ok("recover", "--dry-run").splitlines()
    assert said[0].startswith("desk     -: nothing: healthy")
    assert said[1].startswith("iceland  refused: look, then restart of Ollama: Connection refused")
    assert site.ok("recover", "iceland", "--dry-run").splitlines() == said[1:]
    assert files_of(site.state_dir) == before


def test_a_node_that_is_not_there_is_answered_with_those_that_are(site, standin):
    two_nodes(site, standin)
    done = site.run("recover", "mars")
    assert done.returncode == 2
    assert "no node 'mars'" in done.stderr
    assert "desk, iceland" in done.stderr
    assert site.run("recover", "--force").returncode == 2


def test_alerts_are_listed_and_can_be_tried(site, standin, receiver):
    two_nodes(site, standin)
    assert site.ok("alerts", "list") == "No alert so far.\n"
    none = site.run("alerts", "test")
    assert none.returncode == 1
    assert f"Write {site.paths.config}/apprise.yml" in none.stdout
    site.alerts_go_to(receiver.url)
    assert "ok" in site.ok("alerts", "test")
    assert len(receiver.titles) == 4
    site.ok("check", "--deliver")
    assert receiver.levels("Iceland") == ["WARNING"]
    listed = site.ok("alerts", "list")
    assert "WARNING" in listed
    assert "delivered" in listed
    whole = site.ok("alerts", "show", "1")
    assert whole.startswith("⚠️ [WARNING] alert 1\n   what       degraded: Connection refused\n")
    assert "   next step  see why Ollama stopped: " in whole
    (alert,) = json.loads(site.ok("alerts", "list", "--json"))["alerts"]
    assert (alert["node"], alert["deliveries"][0]["progress"]) == ("iceland", "delivered")
    missing = site.run("alerts", "show", "99")
    assert missing.returncode == 2
    assert missing.stderr.endswith(f": there is no alert 99; see which there are: {site.typed} alerts list\n")


# The end by hand.


@pytest.mark.parametrize("command", [["check"], ["dashboard", "--watch"]])
def test_ctrl_c_ends_a_command_without_a_word(site, standin, command):
    desk = standin()
    site.describe({"desk": {"url": desk.url}})
    site.check()
    desk.fault, asked = "hang", desk.connections
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(site.command(*command), env=site.environment, **options) as running:
        if command == ["check"]:
            assert eventually(lambda: desk.connections > asked)
        else:
            assert "mesh health" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=20)[1]
    assert (running.returncode, said) == (130, "")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), soak(signal.SIGTERM, -signal.SIGTERM, name="SIGTERM")]
)
def test_a_recovery_that_is_told_to_stop_ends_its_playbook_and_says_so(site, standin, number, code):
    pid = site.folder / "pid"
    command = f"{PROGRAMS}/with_pid.sh {pid} sleep 60"
    two_nodes(site, standin, recovery="command", recovery_command=command)
    site.check(3)
    environment = {**site.environment, "TMPDIR": str(site.folder)}
    with subprocess.Popen(site.command("recover"), env=environment, stderr=subprocess.PIPE) as recovering:
        assert eventually(pid.exists)
        recovering.send_signal(number)
        said = recovering.communicate(timeout=20)[1].decode()
    assert recovering.returncode == code
    assert "the playbook was ended: the recovery was told to stop" in said
    assert site.state().nodes["iceland"].recovery.claim is None
    assert site.state().nodes["iceland"].status is Status.UNHEALTHY
    assert not list(site.folder.glob("gm-*"))
    os.kill(int(pid.read_text()), signal.SIGKILL)  # the owner's command is meant to outlive its recovery
