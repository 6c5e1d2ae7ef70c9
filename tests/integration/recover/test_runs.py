"""What a run of a recovery playbook is given, may do for which cause, and never leaves behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import PROGRAMS, ROOT
from factories import served_here
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama
from gpu_mesh.standin.server import Standin
from marks import soak
from sites import eventually

RESTART = playbook.find(Action.RESTART_OLLAMA)
HUNG = {"gpu_mesh_cause": "runner_hung"}


def run(
    path: Path, what: Node, here: tuple[str, ...], *, extra: Mapping[str, Any] | None = None, **options: Any
) -> PlaybookResult:
    known = {"gpu_mesh_addresses": of_ollama(what, Mesh((what,))), **(extra or {})}
    return playbook.run(path, what, Settings(), here, extra=known, **options)


@pytest.mark.usefixtures("no_runners")
@pytest.mark.parametrize(
    "cause",
    [soak("runner_hung"), soak("stuck_stopping"), soak("cpu_fallback"), "http_error", soak("")],
)
def test_an_ollama_that_answers_is_restarted_only_for_a_cause_that_an_answering_one_has(
    here: tuple[str, ...], standin: Callable[..., Standin], tmp_path: Path, cause: str
) -> None:
    touched, helps = tmp_path / "touched", cause in ("runner_hung", "stuck_stopping", "cpu_fallback")
    what = served_here(standin().port, recovery_command=f"touch {touched}")
    report = run(RESTART, what, here, extra={"gpu_mesh_cause": cause})
    assert (report.success, report.done, report.finding) == (True, helps, Finding.ANSWERS)
    assert touched.exists() is helps


@pytest.mark.parametrize("switched_off", [False, soak(True)])
def test_what_systemd_knows_is_told_and_a_unit_that_is_switched_off_stays_so_for_any_cause(
    here: tuple[str, ...],
    standin: Callable[..., Standin],
    systemctl: Callable[..., Path],
    switched_off: bool,
) -> None:
    since = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - 3 * 3600 - 60))
    facts = {
        "LoadState": "loaded",
        "UnitFileState": "disabled" if switched_off else "enabled",
        "ActiveState": "active",
        "NRestarts": "2",
        "StateChangeTimestamp": since,
    }
    asked = systemctl("", **facts)
    report = run(RESTART, served_here(standin().port, RecoveryKind.SYSTEMD), here, extra=HUNG)
    known = "ollama.service active since 3 h, restarted 2 times by systemd"
    if switched_off:
        assert (report.finding, report.done) == (Finding.UNIT_DISABLED, False)
        assert report.said == (
            f"ollama.service is disabled or masked on its host and was left alone; {known}"
        )
    else:
        assert (report.reason, report.finding, report.done) == ("", Finding.ANSWERS, True)
        assert report.said == (
            f"restarted ollama.service, and Ollama answers on its own host (before: {known})"
        )
    assert ("restart ollama.service" in asked.read_text()) is not switched_off


def test_an_operators_own_playbook_is_given_node_cause_and_attempt_and_is_done_once_it_has_gone_through(
    here: tuple[str, ...], tmp_path: Path
) -> None:
    path, given = tmp_path / "mend.yml", tmp_path / "given"
    content = "{{ gpu_mesh_node.url }} {{ gpu_mesh_cause }} {{ gpu_mesh_attempt }}"
    task = {"ansible.builtin.raw": f"printf %s '{content}' >{given}"}
    path.write_text(yaml.safe_dump([{"hosts": "mesh_nodes", "gather_facts": False, "tasks": [task]}]))
    extra = {"gpu_mesh_cause": "cpu_fallback", "gpu_mesh_attempt": 4}
    report = run(path, served_here(1234), here, own=True, extra=extra)
    assert (report.success, report.done, report.looked, report.reason) == (True, True, True, "")
    assert given.read_text() == "http://127.0.0.1:1234 cpu_fallback 4"
    assert not run(path, served_here(1234), here, extra=extra).done, "a built-in one has to say what it did"


@pytest.mark.parametrize(
    ("hosts", "task", "reason"),
    [
        ("mesh_nodes", {"ansible.builtin.fail": {"msg": "the driver is busy"}}, "the driver is busy"),
        ("nobody", {"ansible.builtin.debug": None}, "no host matched"),
    ],
    ids=["fails", "of nobody"],
)
def test_an_operators_own_playbook_that_fails_counts_as_an_attempt(
    here: tuple[str, ...], tmp_path: Path, hosts: str, task: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "mend.yml"
    path.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": [task]}]))
    report = run(path, served_here(1), here, own=True)
    assert (report.success, report.done, report.looked) == (False, False, True)
    assert report.reason.startswith(reason)


def test_the_sample_of_an_own_playbook_takes_the_lease_and_does_its_work_once(
    here: tuple[str, ...], tmp_path: Path
) -> None:
    sample = ROOT / "docs/examples/reload_driver.yml"
    touched = tmp_path / "touched"
    values = {"gpu_mesh_cause": "cpu_fallback", "gpu_mesh_reload": f"echo x >>{touched}"}
    first = run(sample, served_here(1), here, own=True, extra=values | {"gpu_mesh_owner": "monitor-1 a"})
    assert (first.reason, first.done, first.said) == ("", True, "reloaded the driver's nvidia_uvm")
    second = run(sample, served_here(1), here, own=True, extra=values | {"gpu_mesh_owner": "monitor-2 b"})
    assert (second.success, second.done, second.finding) == (True, False, Finding.LEASED)
    assert second.said.startswith("monitor-1 repaired it at ")
    assert touched.read_text() == "x\n"


@pytest.mark.parametrize("works", [True, False])
def test_the_sample_stops_ollama_before_it_unloads_the_module_and_starts_it_whatever_came_of_it(
    here: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    programs, done = tmp_path / "programs", tmp_path / "done"
    programs.mkdir()
    sudo = programs / "sudo"
    sudo.write_text(
        f'#!/bin/sh\nshift\necho "$@" >>{done}\n[ "$1" != /sbin/rmmod ] || exit {int(not works)}\n'
    )
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    values = {"gpu_mesh_cause": "cpu_fallback", "gpu_mesh_owner": "monitor-1 a"}
    report = run(ROOT / "docs/examples/reload_driver.yml", served_here(1), here, own=True, extra=values)
    assert report.success is works
    steps = ["systemctl stop ollama.service", "/sbin/rmmod nvidia_uvm", "/sbin/modprobe nvidia_uvm"]
    assert done.read_text().splitlines() == [*steps[: 3 if works else 2], "systemctl start ollama.service"]


def test_killed_in_the_middle_a_run_ends_with_all_its_processes_and_its_folder(
    here: tuple[str, ...], tmp_path: Path
) -> None:
    path, begun, mark = tmp_path / "slow.yml", tmp_path / "begun", uuid.uuid4().hex
    tasks = [{"ansible.builtin.raw": f"touch {begun}; sleep 300"}]
    path.write_text(yaml.safe_dump([{"hosts": "mesh_nodes", "gather_facts": False, "tasks": tasks}]))
    (tmp_path / "t").mkdir()
    environment = dict(os.environ, TEST_OWNS=mark, TMPDIR=str(tmp_path / "t"))
    process = subprocess.Popen([sys.executable, PROGRAMS / "run_playbook.py", path, *here], env=environment)
    assert eventually(begun.exists)
    assert any("ansible-playbook" in words for words in commands(mark))
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert eventually(lambda: not commands(mark))
    assert eventually(lambda: not list((tmp_path / "t").glob("gm-*")))


def commands(mark: str) -> list[str]:
    """Return the command lines of the living processes with that mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"TEST_OWNS={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
