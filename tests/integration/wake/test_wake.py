"""``gpu-mesh wake``: a node in a network of its own falls asleep, and is woken by a packet on the wire."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import PROGRAMS
from gpu_mesh.standin.server import free_port

MAC = "02:00:00:00:00:02"


@pytest.fixture
def beside(site, tmp_path: Path):
    """Return a function that runs a script beside a node that can fall asleep (sleeping_node.sh).

    In it, ``gm`` is the command on the mesh of that node; it prints an exit status that is not 0.
    """
    alone = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    if os.geteuid() or alone.returncode:
        pytest.skip("needs root, to make networks")
    desk = {"ansible_host": "10.77.0.2", "ansible_connection": "ssh", "timeout": 1.5, "recovery": "none"}
    site.describe({"desk": {**desk, "wake_mac": MAC, "wake_timeout": 8, "warn_after": 1}})

    def run(script: str) -> str:
        command = shlex.join(site.command())
        file = tmp_path / "script"
        file.write_text(f'gm() {{ {command} "$@" || echo "exit status $?"; }}\n{script}\n')
        beside_it = ["unshare", "--net", "--mount", PROGRAMS / "sleeping_node.sh", sys.executable]
        done = subprocess.run(
            [*beside_it, tmp_path, file],
            env=site.environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_node_sleeps_unnoticed_and_a_packet_wakes_it(site, beside, tmp_path):
    said = beside(
        f"""
        gm check
        falls_asleep
        gm check; gm check; gm check
        gm status
        gm best
        is_woken_by_a_packet
        gm wake desk
        grep "woken_at.:[1-9]" {site.paths.state_file} || echo nobody awaits it any more
        gm check
        gm status
        """
    )
    assert "nobody awaits it any more" in said, "it may sleep again before a check has seen it"
    assert re.search(r"💤  desk  asleep( for \d+ s)?; to wake it: gpu-mesh .* wake desk", said)
    assert "0 of 0 nodes healthy, 1 asleep" in said
    assert "exit status 1" in said, "best has no node"
    assert f"a packet is sent to {MAC}; waiting for desk, 8 s\n" in said
    assert re.search(r"desk serves: 1 model in \d+ ms", said)
    assert "1 of 1 nodes healthy" in said.rpartition("desk serves")[2]
    assert (tmp_path / "packet").read_text().split() == [MAC, "ff:ff:ff:ff:ff:ff"], "by broadcast"
    assert site.state().alerts == []
    assert (site.state().node("desk").asleep_since, site.state().node("desk").woken_at) == (0.0, 0.0)
    assert any("event=woken node=desk" in line for line in site.log())


@pytest.mark.soak
def test_a_node_that_does_not_wake_fails_from_then_on(site, beside):
    said = beside(
        f"""
        gm check
        falls_asleep
        gm check
        gm wake desk
        grep -q "woken_at.:[1-9]" {site.paths.state_file} && echo awaited
        gm check; gm check
        gm status
        """
    )
    assert "desk has not woken within 8 s: " in said
    assert "From now on its silence counts as a failure.\nCheck its power and cable" in said
    assert said.count("exit status 1") >= 1
    assert "\nawaited\n" in said
    assert "💤" not in said
    assert re.search(r"🟡 +desk +degraded", said)
    assert [alert.level for alert in site.state().alerts] == ["warning"]


def test_checks_send_a_node_that_sleeps_nothing_that_wakes_it(beside, tmp_path):
    said = beside(
        """
        gm check
        before=$(node_packets); gm check; echo "awake: $(($(node_packets) - before))"
        falls_asleep
        is_woken_by_a_packet
        before=$(node_packets); gm check; gm check; echo "asleep: $(($(node_packets) - before))"
        gm status
        """
    )
    awake, asleep = (int(number) for number in re.findall(r"(?:awake|asleep): (\d+)", said))
    assert awake > 0
    assert asleep > 0, "it was asked for"
    assert (tmp_path / "packet").read_text() == ""
    assert "💤  desk" in said


def test_a_node_that_is_awake_is_sent_no_packet(site, standin):
    site.describe({"desk": {"url": standin().url, "wake_mac": MAC, "ansible_connection": "ssh"}})
    assert re.fullmatch(r"desk is awake: 1 model in \d+ ms\n", site.ok("wake", "desk"))
    assert not site.paths.state_file.exists(), "nothing is awaited"


def test_a_node_that_is_awake_but_does_not_serve_is_not_awaited(site):
    url = f"http://127.0.0.1:{free_port()}"
    site.describe({"desk": {"url": url, "wake_mac": MAC, "ansible_connection": "ssh"}})
    done = site.run("wake", "desk")
    assert (done.returncode, done.stdout) == (1, "desk is awake: Connection refused\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a network")
def test_where_no_packet_can_be_sent_the_node_is_not_awaited(site):
    site.describe({"desk": {"url": "http://10.77.0.2:11434", "wake_mac": MAC, "ansible_connection": "ssh"}})
    site.program = ["unshare", "--net", *site.program]
    done = site.run("wake", "desk")
    assert done.returncode != 0
    assert "Network is unreachable" in done.stderr
    assert site.state().nodes["desk"].woken_at == 0.0


def test_a_node_without_the_address_of_its_card_cannot_be_woken(site, standin):
    site.describe({"desk": {"url": standin().url}})
    done = site.run("wake", "desk")
    assert (done.returncode, done.stdout) == (2, "")
    assert "desk cannot be woken: give the address of its network card as mesh_node_wake_mac" in done.stderr
