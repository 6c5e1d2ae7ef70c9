"""Every command that a next step names can be typed where it is read."""

import argparse
import shlex
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from factories import GPU1, NOON, POD, plain
from gpu_mesh.alerting import monitor_alerts
from gpu_mesh.cli import main
from gpu_mesh.cli.commands import COMMANDS
from gpu_mesh.domain.causes import CAUSES
from gpu_mesh.domain.mesh import RecoveryKind
from gpu_mesh.domain.recovery import Brake, Finding
from gpu_mesh.domain.state import State, Tick
from gpu_mesh.planning import advice
from gpu_mesh.text.commands import AS_IT_IS, IN_USER_SCOPE, Shell, typed, with_commands

BY_HAND = Shell(("-i", "my hosts.yml", "--state-dir", "/tmp/s"), ("my hosts.yml",))
SYSTEM = Shell(
    inventory=("/etc/gpu-mesh/inventory",),
    installed=True,
    owner="gpu-mesh",
    ansible="/opt/gpu-mesh/venv/bin/ansible",
)
ROOT = replace(SYSTEM, owner="")
USER = replace(SYSTEM, owner="", user=True)
SHELLS = {"by hand": BY_HAND, "system": SYSTEM, "system, as root": ROOT, "user": USER}
NODES = [
    replace(node, recovery=kind)
    for kind in RecoveryKind
    for node in (GPU1, POD, plain("far", ssh_host="192.0.2.7", ssh_port=2222))
]


def steps() -> Iterator[str]:
    for node in NODES:
        for cause in CAUSES:
            for finding in Finding:
                yield advice.step_after(node, finding, cause)
    state = State(tick=Tick(NOON - 3600, 1, 30))
    monitor_alerts.note_gap(state, 30, 1, NOON, NOON)
    monitor_alerts.note_inventory(state, "mesh.yml:3: wrong", ("/srv/my hosts", "b.yml"), NOON)
    monitor_alerts.note_brake_on(state, Brake(NOON), ["gpu1"], 2, NOON)
    for user in (False, True):
        monitor_alerts.note_failure(state, f"gpu-mesh-check{user}.service", "x", (), NOON, user=user)
    yield from (alert.next_step for alert in state.alerts)
    yield "see: gpu-mesh alerts test"


STEPS = sorted(set(steps()))


def commands(step: str) -> list[list[str]]:
    return [shlex.split(part) for part, is_command in with_commands(step) if is_command]


class RefusedError(Exception):
    pass


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    def refuse(_parser: argparse.ArgumentParser, message: str) -> None:
        raise RefusedError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)
    return main.parser().parse_args(words)


@pytest.mark.parametrize("where", SHELLS)
def test_every_command_of_every_next_step_can_be_typed(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shell, seen = SHELLS[where], set()
    for step in STEPS:
        for words in commands(typed(step, shell)):
            assert words[0] != "ssh" or "sudo" not in words or "-t" in words, "sudo has no terminal to ask in"
            if words[0] == "sudo":
                del words[: 3 if words[1] == "-u" else 1]
            seen.add(words[0].rpartition("/")[2])
            if words[0] == "gpu-mesh":
                given = parse(words[1:], monkeypatch)
                assert given.inventory or shell.installed
    assert {"gpu-mesh", "ansible", "journalctl", "systemctl", "ss"} <= seen
    assert ("ssh-keygen" in seen) is (not shell.installed)


TYPED = [
    ("gpu-mesh recover --force", BY_HAND, "gpu-mesh -i 'my hosts.yml' --state-dir /tmp/s recover --force"),
    ("gpu-mesh recover --force", SYSTEM, "sudo gpu-mesh recover --force"),
    ("gpu-mesh recover --force", ROOT, "gpu-mesh recover --force"),
    ("gpu-mesh recover --force", USER, "gpu-mesh recover --force"),
    ("gpu-mesh -i a.yml validate", BY_HAND, "gpu-mesh -i a.yml validate"),
    ("gpu-mesh -i a.yml validate", SYSTEM, "sudo gpu-mesh -i a.yml validate"),
    ("ansible -m raw -a id gpu1", BY_HAND, "ansible -i 'my hosts.yml' -m raw -a id gpu1"),
    (
        "ansible -m raw -a id gpu1",
        SYSTEM,
        "sudo -u gpu-mesh /opt/gpu-mesh/venv/bin/ansible -i /etc/gpu-mesh/inventory -m raw -a id gpu1",
    ),
    ("systemctl start gpu-mesh.target", SYSTEM, "sudo systemctl start gpu-mesh.target"),
    ("systemctl start gpu-mesh.target", USER, "systemctl --user start gpu-mesh.target"),
    ("journalctl -u gpu-mesh-tunnel@pod", SYSTEM, "sudo journalctl -u gpu-mesh-tunnel@pod"),
    ("journalctl -u gpu-mesh-tunnel@pod", USER, "journalctl --user -u gpu-mesh-tunnel@pod"),
    ("journalctl -u ollama.service on gpu1", SYSTEM, "journalctl -u ollama.service on gpu1"),
    ("if so: ssh-keygen -R '[192.0.2.7]:2222'; then wait", SYSTEM, "if so: run site.yml again; then wait"),
    ("if so: ssh-keygen -R '[192.0.2.7]:2222'", BY_HAND, "if so: ssh-keygen -R '[192.0.2.7]:2222'"),
    (f"journalctl -u gpu-mesh-check{IN_USER_SCOPE}; x", SYSTEM, "sudo journalctl -u gpu-mesh-check; x"),
    (f"journalctl -u gpu-mesh-check{IN_USER_SCOPE}; x", USER, "journalctl --user -u gpu-mesh-check; x"),
    ("the unit gpu-mesh-check failed", SYSTEM, "the unit gpu-mesh-check failed"),
]


@pytest.mark.parametrize(("plainly", "shell", "there"), TYPED)
def test_a_command_gets_the_options_and_the_user_that_it_needs(
    plainly: str, shell: Shell, there: str
) -> None:
    assert typed(plainly, shell) == there
    assert typed(plainly, AS_IT_IS) == plainly


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.group])
def test_each_command_that_people_type_gets_its_options(name: str) -> None:
    alone = {"demo"}  # it knows no mesh but its own
    there = (
        f"gpu-mesh {name} x" if name in alone else f"gpu-mesh -i 'my hosts.yml' --state-dir /tmp/s {name} x"
    )
    assert typed(f"gpu-mesh {name} x", BY_HAND) == there
