"""What is done for GPUs on machines: a reboot, a reset, a reload, or nothing but a call for a person.

Where it is allowed, once a day, by root's program alone.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import machines
import provision
import pytest

from checkout import PROGRAMS
from gpu_host import GpuHost

CARD = "0000:01:00.0"
REPAIR = "/usr/local/lib/gpu-mesh/gpu-repair"
NOTE = "/var/lib/gpu-mesh-gpu/rebooted"
HOLDS = "/bin/sh -c 'exec sleep 600 3</dev/nvidia0'"
AT_BOOT = (
    "[Unit]\nBefore=ollama.service ssh.service\n[Service]\nType=oneshot\n"
    "ExecStart=/bin/sh /srv/boot_card.sh\n"
    "[Install]\nWantedBy=multi-user.target\n"
)


class Mesh:
    """A monitor and nodes, each with a card: one may be rebooted, one reset; two have to be left alone."""

    def __init__(self, site: machines.Site, operator: provision.Operator) -> None:
        self.operator = operator
        self.monitor, self.card, self.bare, self.hung, self.tuned = self.machines = site.boot(
            "reboots", "card", "bare", "hung", "tuned"
        )

    def node(self, key: str) -> dict[str, Any]:
        return provision.status(self.monitor).get(key, {})

    def await_status(self, key: str, status: str) -> None:
        machines.await_that(lambda: self.node(key).get("status") == status, 90, f"{key} is {status}")

    def known(self, key: str) -> dict[str, Any]:
        """What the state has of the node."""
        state = json.loads(self.monitor.out("cat /var/lib/gpu-mesh/state.json"))
        return dict(state["nodes"][key])

    def attempts(self, key: str, action: str = "reboot_host") -> list[str]:
        """Return how the attempts at it ended."""
        return [each["outcome"] for each in self.known(key).get("attempts", ()) if each["action"] == action]

    def lose(self, machine: machines.Machine) -> None:
        """Let its card fall off the bus, and Ollama end."""
        device = machine.root / f"srv/host/sys/bus/pci/devices/{CARD}"
        (device / "config").write_bytes(b"\xff\xff\xff\xff")
        machine.ssh("systemctl stop ollama.service")

    def asks(self, words: str) -> str:
        """What root's program answers recovery's own login."""
        return self.card.out(f"runuser -u gpu-mesh -- sudo -n {REPAIR} {words} 2>&1; true")


def _furnish(machine: machines.Machine) -> None:
    host = GpuHost(machine.root / "srv")
    host.device(CARD, "nvidia")
    shutil.copy(PROGRAMS / "boot_card.sh", machine.root / "srv")
    (machine.root / "etc/systemd/system/boot-card.service").write_text(AT_BOOT)
    (machine.root / "etc/environment").write_text("GPU_MESH_GPU_ROOT=/srv/host\n")
    machine.ssh("systemctl daemon-reload && systemctl enable --quiet --now boot-card.service")
    provision.install_ollama(machine, "0.0.0.0")


def _furnish_to_hang(machine: machines.Machine) -> None:
    """Give it a card whose driver can be made to hang (``hanging``); its processes are real."""
    host = GpuHost(machine.root / "srv")
    host.device(CARD, "nvidia")
    shutil.rmtree(host.root / "proc")
    (host.root / "proc").symlink_to("/proc")
    _put(machine, "/usr/bin/nvidia-smi", "#!/bin/sh\nread -r answer </mnt/driver\n")
    shutil.copy(PROGRAMS / "never_answer.py", machine.root / "srv")
    (machine.root / "etc/environment").write_text("GPU_MESH_GPU_ROOT=/srv/host\n")
    provision.install_ollama(machine, "0.0.0.0")


def _furnish_with_a_driver(machine: machines.Machine) -> None:
    """Give it a card that is well, and a made-up driver that can reset it."""
    host = GpuHost(machine.root / "srv")
    host.nvidia()
    for program in ("/usr/bin/nvidia-smi", "/usr/sbin/modprobe"):
        _put(machine, program, (PROGRAMS / "nvidia_smi.sh").read_text())
    (machine.root / "srv/asks").write_text("None\n")
    shutil.copy(PROGRAMS / "set_fault.py", machine.root / "srv")
    (machine.root / "etc/environment").write_text("GPU_MESH_GPU_ROOT=/srv/host\n")
    provision.install_ollama(machine, "0.0.0.0", controlled=True)


def _put(machine: machines.Machine, path: str, text: str) -> None:
    file = machine.root / path.lstrip("/")
    file.unlink(missing_ok=True)  # it may be a link to something else
    file.write_text(text)
    file.chmod(0o755)


@contextmanager
def hanging(machine: machines.Machine) -> Iterator[None]:
    """Let the machine's driver hang: whoever asks nvidia-smi there cannot be killed."""
    enter = f"nsenter --target {machine.leader} --mount --pid python3 /srv/never_answer.py /mnt 3"
    with subprocess.Popen(
        ["sh", "-c", f"exec {enter} 3<>/dev/fuse"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        try:
            assert server.stdout.readline() == "nobody gets an answer\n"
            yield
        finally:
            server.kill()


@pytest.fixture(scope="module")
def mesh(site: machines.Site) -> Iterator[Mesh]:
    operator = provision.Operator(site, site.folder / "rebooter")
    made = Mesh(site, operator)
    for machine in (made.card, made.bare):
        _furnish(machine)
    _furnish_to_hang(made.hung)
    for machine in (made.tuned, made.monitor):
        _furnish_with_a_driver(machine)
    operator.inventory = {
        "all": {"vars": {"ansible_user": "admin"}},
        "mesh_monitors": {
            "hosts": {
                "reboots": {
                    "ansible_host": made.monitor.address,
                    "mesh_monitor_wheels": str(provision.wheels(site, "311")),
                    "mesh_monitor_check_interval": 2,
                    "mesh_monitor_recover_interval": 5,
                    "mesh_monitor_recovery_backoff": 5,
                    "mesh_monitor_recovery_patience": 10,
                    "mesh_monitor_recovery_brake": 0,
                }
            }
        },
        "mesh_nodes": {
            "vars": {"mesh_node_timeout": 2, "mesh_node_drain": 0, "mesh_node_gpu_interval": 5},
            "hosts": {
                "reboots": {},
                "card": {"ansible_host": made.card.address, "mesh_node_gpu_recovery": "reboot"},
                "bare": {"ansible_host": made.bare.address},
                "hung": {"ansible_host": made.hung.address},
                "tuned": {"ansible_host": made.tuned.address, "mesh_node_gpu_recovery": "reset"},
            },
        },
    }
    play = operator.play("site.yml")
    assert play.faults == []
    for key in ("reboots", "card", "bare", "hung", "tuned"):
        made.await_status(key, "healthy")
    yield made
    for machine in made.machines:
        machine.halt()


def test_the_units_look_at_every_host_and_at_the_monitors_own_through_the_one_that_sees_its_cards(
    mesh: Mesh,
) -> None:
    drop_in = mesh.monitor.root / "etc/systemd/system/gpu-mesh-look-here.service.d/root.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nEnvironment=GPU_MESH_GPU_ROOT=/srv/host\n")
    mesh.monitor.ssh("systemctl daemon-reload && systemctl start gpu-mesh-look.service")
    for key, smi in (("reboots", "ok"), ("tuned", "ok"), ("card", "missing")):
        facts = mesh.known(key)["gpu"]["facts"]
        assert facts["smi"] == smi
        assert [card["bus"] for card in facts["cards"]] == [CARD]
    here = mesh.known("reboots")["gpu"]["facts"]
    assert here["cards"][0]["name"] == "NVIDIA H100 80GB HBM3"
    assert "devices" not in here, "they can be opened there"
    for unit in ("look", "look-here"):
        assert mesh.monitor.out(f"systemctl show -p Result --value gpu-mesh-{unit}.service") == "success"


def test_a_lost_card_is_told_where_a_reboot_is_not_allowed(mesh: Mesh) -> None:
    assert not (mesh.bare.root / REPAIR.lstrip("/")).exists()
    assert list((mesh.bare.root / "etc/sudoers.d").glob("gpu-mesh*")) == []
    mesh.lose(mesh.bare)
    machines.await_that(lambda: mesh.node("bare").get("cause") == "gpu_lost", 90, "the loss is seen")
    machines.await_that(lambda: mesh.known("bare").get("called_at"), 60, "a person is called")
    assert mesh.attempts("bare") == []
    assert (mesh.bare.root / "srv/boots").read_text() == "boot\n"
    mesh.bare.ssh("sh /srv/boot_card.sh; systemctl start ollama.service")
    mesh.await_status("bare", "healthy")


def test_while_a_driver_hangs_nothing_is_restarted_or_asked_again_and_a_person_is_called_once(
    mesh: Mesh,
) -> None:
    with hanging(mesh.hung):
        mesh.hung.ssh("systemctl stop ollama.service")
        machines.await_that(lambda: mesh.node("hung").get("cause") == "gpu_driver_stuck", 180, "it is named")
        machines.await_that(lambda: mesh.known("hung").get("called_at"), 60, "a person is called")
        said = mesh.monitor.ssh("gpu-mesh status hung", check=False).stdout  # its status says how bad it is
        assert "a restart of Ollama would hang" in said
        assert "a restart does not help" in mesh.monitor.out("gpu-mesh recover --dry-run")
        last = mesh.known("hung")["attempts"][-1]["at"]
        mesh.monitor.ssh("gpu-mesh look hung; gpu-mesh recover hung --force", check=False)
        assert set(mesh.attempts("hung", "restart_ollama")) == {"declined"}
        assert mesh.known("hung")["attempts"][-1]["at"] > last, "a person's wish begins with a look, too"
        assert len(mesh.hung.out("pgrep -x nvidia-smi").split()) == 1
        assert mesh.hung.out("systemctl is-active ollama.service || true") == "inactive"
    listed = json.loads(mesh.monitor.out("gpu-mesh alerts list --json"))["alerts"]
    calls = [each for each in listed if each["node"] == "hung" and "needs you" in each["text"]]
    assert len(calls) == 1, listed
    mesh.hung.ssh("systemctl start ollama.service")
    mesh.await_status("hung", "healthy")


def test_a_card_is_reset_while_ollama_is_stopped_where_the_driver_asks_that_and_not_again(mesh: Mesh) -> None:
    (mesh.tuned.root / "srv/asks").write_text("Reset\n")
    mesh.tuned.ssh("python3 /srv/set_fault.py 11434 http_500")
    machines.await_that(lambda: mesh.attempts("tuned", "reset_gpu"), 120, "the card is reset")
    mesh.await_status("tuned", "healthy")
    did = (mesh.tuned.root / "srv/did").read_text().splitlines()
    assert did == ["--gpu-reset -i 00000000:01:00.0 (Ollama inactive)"]
    assert mesh.attempts("tuned", "reset_gpu") in (["unproved"], ["recovered"])
    assert mesh.attempts("tuned", "restart_ollama") in ([], ["declined"])
    (mesh.tuned.root / "srv/asks").write_text("Reset\n")
    mesh.tuned.ssh("python3 /srv/set_fault.py 11434 http_500")
    machines.await_that(lambda: mesh.known("tuned").get("called_at"), 120, "a person is called")
    assert (mesh.tuned.root / "srv/did").read_text().splitlines() == did
    again = mesh.tuned.out(f"runuser -u gpu-mesh -- sudo -n {REPAIR} reset tuned")
    assert again.endswith("and that is done once in 24 hours")
    (mesh.tuned.root / "srv/asks").write_text("None\n")
    mesh.tuned.ssh("systemctl restart ollama.service")
    mesh.await_status("tuned", "healthy")
    asked = mesh.tuned.out(
        f"rm /var/lib/gpu-mesh-gpu/reset; runuser -u gpu-mesh -- sudo -n {REPAIR} reset tuned"
    )
    assert asked == "gpu-mesh: repair refused the driver names no card that needs a reset"
    mesh.tuned.ssh("systemctl disable --quiet ollama.service")
    asked = mesh.tuned.out(f"runuser -u gpu-mesh -- sudo -n {REPAIR} reset tuned")
    assert asked == "gpu-mesh: repair refused ollama.service is disabled or masked"
    mesh.tuned.ssh("systemctl enable --quiet ollama.service")


def test_nvidia_uvm_is_loaded_while_ollama_is_stopped_and_ollama_started_whatever_comes_of_it(
    mesh: Mesh,
) -> None:
    (mesh.tuned.root / "srv/did").unlink(missing_ok=True)
    (mesh.tuned.root / "srv/host/sys/module/nvidia_uvm").rmdir()
    mesh.tuned.ssh("python3 /srv/set_fault.py 11434 cpu")
    machines.await_that(lambda: mesh.attempts("tuned", "reload_gpu_module"), 120, "the module is reloaded")
    mesh.await_status("tuned", "healthy")
    assert (mesh.tuned.root / "srv/did").read_text() == "modprobe nvidia_uvm (Ollama inactive)\n"
    assert mesh.attempts("tuned", "reload_gpu_module") == ["recovered"], "a model is in VRAM again"
    _put(mesh.tuned, "/usr/sbin/modprobe", "#!/bin/sh\nexit 1\n")
    fails = mesh.tuned.out(
        f"rm /var/lib/gpu-mesh-gpu/reloaded; runuser -u gpu-mesh -- sudo -n {REPAIR} reload tuned"
    )
    assert fails == "gpu-mesh: repair failed nvidia_uvm cannot be loaded"
    assert mesh.tuned.out("systemctl is-active ollama.service") == "active"
    mesh.await_status("tuned", "healthy")


def test_roots_program_refuses_what_would_cut_others_off(mesh: Mesh) -> None:
    mesh.monitor.ssh("gpu-mesh silence add card --for 10m --no-recovery --reason test")
    for words in ("halt card", "reboot bare", "reboot", "reboot card card", "reset card"):
        assert "a password is required" in mesh.asks(words)
    assert (
        mesh.card.out(f"{REPAIR} reboot bare") == "gpu-mesh: repair refused it is not allowed for that node"
    )
    assert mesh.card.out(f"{REPAIR} halt card") == (
        "gpu-mesh: repair refused usage: gpu-repair reload|reset|reboot NODE"
    )
    mesh.card.ssh("touch /dev/nvidia0 && cp /bin/sleep /tmp/dpkg && cp /bin/bash /tmp/llama-server")
    stranger = "systemd-run --quiet --collect --unit=stranger"
    for does, why in (
        (HOLDS, "(sleep) uses a GPU"),
        ("/tmp/dpkg 600", "(dpkg) installs something"),
        ("/tmp/llama-server -c 'while :; do :; done'", "another Ollama of this host is generating"),
    ):
        mesh.card.ssh(f"{stranger} {does}")
        said = mesh.asks("reboot card")
        mesh.card.ssh("systemctl stop stranger.service")
        assert said.startswith("gpu-mesh: repair refused "), said
        assert said.endswith(why)
    assert not (mesh.card.root / NOTE.lstrip("/")).exists()
    # Whose unit holds the card, its control group says. The note of a reboot lets none follow here.
    mesh.card.ssh(f"date +%s >{NOTE}")
    (mesh.card.root / "etc/systemd/system/ollama.service.d").mkdir(exist_ok=True)
    drop_in = mesh.card.root / "etc/systemd/system/ollama.service.d/holds.conf"
    drop_in.write_text(f"[Service]\nExecStart=\nExecStart={HOLDS}\n")
    mesh.card.ssh("systemctl daemon-reload && systemctl restart ollama.service")
    assert mesh.asks("reboot card").endswith("and that is done once in 24 hours")
    mesh.card.ssh(f"systemctl stop ollama.service; {stranger.replace('stranger', 'not-ollama')} {HOLDS}")
    assert mesh.asks("reboot card").endswith("(sleep) uses a GPU")
    drop_in.unlink()
    mesh.card.ssh(
        f"rm {NOTE}; systemctl stop not-ollama; systemctl daemon-reload; systemctl start ollama.service"
    )
    mesh.await_status("card", "healthy")
    mesh.monitor.ssh("gpu-mesh silence end 1")


def test_a_host_that_may_be_is_rebooted_once_and_the_card_is_back(mesh: Mesh) -> None:
    mesh.lose(mesh.card)
    machines.await_that(lambda: not mesh.card.running, 120, "the host goes down for its reboot")
    mesh.card.boot()
    assert (mesh.card.root / "srv/boots").read_text() == "boot\n" * 2
    assert (mesh.card.root / NOTE.lstrip("/")).exists()
    mesh.await_status("card", "healthy")
    said = mesh.monitor.out("gpu-mesh alerts list")
    assert "reboot of " in said
    assert "expected back by" in said
    assert mesh.attempts("card") in (["unproved"], ["recovered"]), "a look may have been made already"
    mesh.monitor.ssh("gpu-mesh look card")
    machines.await_that(lambda: mesh.attempts("card") == ["recovered"], 60, "a loaded model proves it")
    assert not mesh.known("card").get("reboot")


def test_a_card_that_is_lost_again_within_a_day_is_a_persons(mesh: Mesh) -> None:
    mesh.lose(mesh.card)
    machines.await_that(lambda: mesh.known("card").get("called_at"), 120, "a person is called")
    assert (mesh.card.root / "srv/boots").read_text() == "boot\n" * 2
    assert mesh.asks("reboot card").endswith("and that is done once in 24 hours")
    assert mesh.card.running
    mesh.card.ssh("sh /srv/boot_card.sh; systemctl start ollama.service")
    mesh.await_status("card", "healthy")


def test_the_right_goes_when_the_inventory_no_longer_gives_it_and_the_note_with_the_node(mesh: Mesh) -> None:
    card = mesh.operator.inventory["mesh_nodes"]["hosts"]["card"]
    card["mesh_node_gpu_recovery"] = "none"
    assert mesh.operator.play("site.yml").recap("failed").get("card") == 0
    left = [
        path for path in ("/usr/local/lib/gpu-mesh", "/etc/sudoers.d/gpu-mesh-card") if _is_there(mesh, path)
    ]
    assert left == []
    assert _is_there(mesh, NOTE), "whoever allows it again today allows no second one"
    mesh.operator.play("playbooks/uninstall.yml", "-l", "card")
    assert not _is_there(mesh, "/var/lib/gpu-mesh-gpu")


def _is_there(mesh: Mesh, path: str) -> bool:
    return (mesh.card.root / path.lstrip("/")).exists()
