"""etcd is full, refuses, or has what no monitor wrote there: somebody watches all the same."""

import json
import secrets
import subprocess
import zlib
from pathlib import Path

import pytest

from gpu_mesh.cluster.keys import Keys
from gpu_mesh.domain.state import SCHEMA
from gpu_mesh.standin.server import Standin
from gpu_mesh.system.etcd import Get, Put
from marks import soak
from monitors import LACKING, Monitor, Monitors
from sites import Receiver, eventually

KEYS = Keys("mesh")


def role(monitor: Monitor) -> str:
    return str(json.loads(monitor.run("cluster", "--json").stdout)["role"])


def test_while_etcd_is_full_who_leads_goes_on_alone_and_says_what_to_do(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh.etcd.is_full(full=True)
    node.close()
    assert "its database is full (NOSPACE): docs/cluster.md says how to make room" in (
        mesh["desk"].run("lead").stderr
    )
    mesh["desk"].hears_nothing_for(60)
    for _ in range(2):
        mesh["desk"].tick()
    assert role(mesh["desk"]) == "leader_alone"
    assert receiver.levels("iceland") == ["WARNING"]
    assert any("its database is full (NOSPACE)" in body for body in receiver.bodies)
    mesh.etcd.is_full(full=False)
    for _ in range(2):
        mesh["desk"].tick()
    assert role(mesh["desk"]) == "leader"
    assert not mesh["desk"].state().shared.apart_since
    assert any("etcd is back" in title for title in receiver.titles)


def test_a_state_that_etcd_refuses_is_kept_by_who_leads_and_people_are_told(
    monitors: Monitors, node: Standin, receiver: Receiver
) -> None:
    monitors.etcd.stop()
    monitors = Monitors(monitors.etcd.folder, ("study",), "--max-request-bytes", "2000")
    monitors.describe({"iceland": {"url": node.url, "recovery": "none"}})
    monitors.alerts_go_to(receiver.url)
    desk = monitors["study"]
    desk.tick()
    for _ in range(20):
        desk.ok("silence", "add", "iceland", "--for", "1h", "--reason", secrets.token_hex(100))
    assert "request is too large" in desk.state().shared.apart_for
    desk.noted_apart_for(60)
    desk.tick()
    (told,) = [title for title in receiver.titles if "etcd" in title]
    assert "etcd does not take the state for 1 min" in told
    assert role(desk) == "leader"
    assert desk.status()["nodes"][0]["status"] == "healthy"
    monitors.close()


def test_a_damaged_state_in_etcd_is_replaced_by_the_copy_of_who_leads_next(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    node.close()
    mesh["desk"].tick()
    mesh["attic"].tick()
    mesh.asked(Put(KEYS.state, b"\xff no state"), Put(KEYS.write, b"\xff"))
    assert "the state in etcd is damaged" in mesh["porch"].run("check").stderr
    mesh["desk"].loses_its_lease()
    mesh["attic"].tick()
    assert mesh["attic"].state().node("iceland").failures == 2, "it goes on with its own copy"
    mesh["porch"].ok("check")
    assert mesh["porch"].state().node("iceland").failures == 2
    assert any("the state in etcd is damaged" in title for title in receiver.titles)
    assert mesh["desk"].run("check").returncode == 0


def test_a_backup_of_etcd_that_is_put_back_does_not_undo_what_the_monitors_know(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    old = [found[0] for found in mesh.asked(Get(KEYS.state), Get(KEYS.write)).found]
    node.close()
    mesh["desk"].tick()
    mesh["desk"].tick()
    mesh["attic"].tick()
    mesh.asked(*(Put(each.key, each.value) for each in old))
    mesh["attic"].tick()
    assert mesh["attic"].state().node("iceland").failures == 2, "who stands by keeps the newer copy"
    mesh["desk"].tick()
    assert mesh["desk"].state().node("iceland").failures == 3
    assert receiver.levels("iceland") == ["WARNING", "ERROR"]
    assert any("event=shared_state_replaced" in line for line in mesh["desk"].log())
    mesh["attic"].tick()
    assert mesh["attic"].state().node("iceland").failures == 3


def test_an_etcd_that_is_begun_anew_gets_the_state_of_who_leads(mesh: Monitors, node: Standin) -> None:
    node.close()
    for _ in range(3):
        mesh["desk"].tick()
    mesh["attic"].tick()
    with_writes = mesh["desk"].state().shared.writes
    mesh.etcd.begins_anew()
    mesh["desk"].tick()
    assert mesh["desk"].state().shared.writes < with_writes
    assert mesh["desk"].state().node("iceland").failures == 4
    mesh["attic"].tick()
    assert mesh["attic"].state().node("iceland").failures == 4


def test_a_monitor_that_is_older_than_the_state_stands_by_and_leaves_it_as_it_is(mesh: Monitors) -> None:
    state = json.loads(mesh["desk"].paths.state_file.read_text()) | {"schema": SCHEMA + 1}
    newer = zlib.compress(json.dumps(state).encode())
    mesh["desk"].loses_its_lease()
    schema = str(SCHEMA + 1).encode()
    mesh.asked(Put(KEYS.state, newer), Put(KEYS.write, b"newer"), Put(KEYS.schema, schema))
    assert not mesh["attic"].leads()
    shown = mesh["attic"].run("cluster").stdout
    assert "a newer version has written the state: bring this one up to date" in shown
    refused = mesh["attic"].run("silence", "add", "iceland", "--for", "1h", "--reason", "x").stderr
    assert "the state in etcd was written by a newer gpu-mesh" in refused
    assert mesh.asked(Get(KEYS.state)).found[0][0].value == newer
    assert mesh["attic"].status()["nodes"][0]["status"] == "healthy", "as it saw it last"


def test_the_only_monitor_that_comes_back_after_a_power_cut_watches_alone(
    mesh: Monitors, node: Standin, receiver: Receiver
) -> None:
    mesh.etcd.stop()
    node.close()
    mesh["desk"].boots()
    mesh["desk"].run("lead")
    assert role(mesh["desk"]) == "standby", "another one may lead"
    mesh["desk"].hears_nothing_for(300)
    for _ in range(2):
        mesh["desk"].tick()
    assert role(mesh["desk"]) == "alone"
    assert receiver.levels("iceland") == ["WARNING"]
    assert any(
        "desk watches alone, and repairs nothing: another one may do so, too" in body
        for body in receiver.bodies
    )


@pytest.mark.parametrize(
    "value",
    [
        b'{"monitor": 7}',
        *(
            soak(value, name=name)
            for name, value in {"bytes": b"\xff\xfe", "a list": b"[]", "too deep": b"[" * 100_000}.items()
        ),
    ],
)
def test_what_is_no_record_of_a_monitor_in_etcd_ends_no_watch(
    mesh: Monitors, node: Standin, receiver: Receiver, value: bytes
) -> None:
    mesh.asked(Put(KEYS.last, value))
    refused = mesh["desk"].run("lead")
    assert refused.returncode == 1
    assert f"{KEYS.last} is not what gpu-mesh writes there" in refused.stderr
    assert "Traceback" not in refused.stderr
    node.close()
    mesh["desk"].hears_nothing_for(60)
    for _ in range(2):
        mesh["desk"].tick()
    assert receiver.levels("iceland") == ["WARNING"]


def test_a_forged_state_gets_no_other_host_touched_and_no_node_that_serves_repaired(
    mesh: Monitors, node: Standin, tmp_path: Path
) -> None:
    repaired = tmp_path / "repaired"
    command = {"recovery": "command", "recovery_command": f"touch {repaired}"}
    command |= {"ansible_connection": "local", "ansible_host": "192.0.2.1"}  # the address of desk
    mesh.describe({"iceland": {"url": node.url, **command}})
    mesh["desk"].tick()
    state = json.loads(zlib.decompress(mesh.asked(Get(KEYS.state)).found[0][0].value))
    offline = {**state["nodes"]["iceland"], "status": "offline", "failures": 9, "cause": "refused"}
    offline |= {"failing_since": state["tick"]["at"] - 900, "incident_since": state["tick"]["at"] - 900}
    state["nodes"] |= {"iceland": offline, "evil.example.net": offline}
    mesh.asked(Put(KEYS.state, zlib.compress(json.dumps(state).encode())), Put(KEYS.write, b"forged"))
    mesh["desk"].ok("recover")
    assert mesh["desk"].state().node("iceland").recovery.attempts == ()
    assert not repaired.exists()
    assert "evil" not in mesh["desk"].run("recover", "evil.example.net", "--dry-run").stdout
    mesh["desk"].tick()
    assert [each["node"] for each in mesh["desk"].status()["nodes"]] == ["iceland"]
    node.close()
    for _ in range(3):
        mesh["desk"].check()
    words, quiet = mesh["desk"].command("recover"), subprocess.DEVNULL
    with subprocess.Popen(words, env=mesh["desk"].environment, stdout=quiet, stderr=quiet) as recovery:
        assert eventually(repaired.exists), "what a fresh look finds at fault is repaired"
        recovery.terminate()


if LACKING:
    pytestmark = pytest.mark.skip(reason=LACKING)
