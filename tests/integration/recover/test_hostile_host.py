"""What a host does while it is looked at: memory, disk and time of a recovery stay bounded."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from checkout import PROGRAMS
from factories import served_here
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import bounded_ssh, playbook
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.planning.addresses import of_ollama
from marks import soak
from sites import end_all_with, processes_with

FLOOD = 300_000_000
MOST_MEMORY = 250_000  # kilobytes, of the largest process; an honest look takes about 100,000
MOST_DISK = 20_000_000


def look(sources: tuple[str, ...], path: Path | None = None, **options: Any) -> PlaybookResult:
    there = replace(served_here(1, recovery_command="true"), on_monitor=False)
    extra = {"gpu_mesh_addresses": of_ollama(there, Mesh((there,)))}
    path = path or playbook.find(Action.RESTART_OLLAMA)
    return playbook.run(path, there, Settings(), sources, extra=extra, **{"timeout": 60, **options})


@pytest.mark.parametrize(
    "prints",
    [
        f"head -c {FLOOD} /dev/zero",
        soak(f"head -c {FLOOD} /dev/zero | tr '\\\\0' '\\\\n'"),
        soak(f"head -c {FLOOD} /dev/urandom"),
        soak(f"head -c {FLOOD} /dev/zero >&2"),
        soak(f"head -c {FLOOD} /dev/zero; exit 255"),
        soak("yes 'ssh: connect to host x: Connection refused' >&2"),
        soak("yes 'Traceback (most recent call last):'"),
    ],
)
def test_a_host_that_prints_without_end_ends_its_look_and_fills_neither_memory_nor_disk(
    inventory: Callable[..., tuple[str, ...]], sshd: Any, prints: str
) -> None:
    (sshd.folder / "authorized").write_text(
        f'command="{prints}" ' + (sshd.folder / "user.pub").read_text(),
    )
    program = [sys.executable, str(PROGRAMS / "measure_look.py"), *inventory(gpu1=sshd.variables)]
    report = json.loads(subprocess.check_output(program, text=True).splitlines()[-1])
    assert not report["success"]
    assert report["largest"] < MOST_MEMORY
    assert report["disk"] < MOST_DISK
    assert len(report["reason"]) <= 200
    assert report["reason"].isprintable()
    if "Traceback" not in prints:  # for Ansible that is no failure of ssh, whatever ssh says
        assert (report["reason"], report["finding"]) == (bounded_ssh.TOO_MUCH, Finding.NO_ACCESS)


def test_a_module_passes_through_the_counted_ssh_and_that_runs_the_operators_own_ssh(
    inventory: Callable[..., tuple[str, ...]], sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, config = tmp_path / "programs", tmp_path / "ansible.cfg"
    programs.mkdir()
    for name in ("ssh-of-ours", "sftp", "scp"):
        program = programs / name
        program.write_text(f'#!/bin/sh\necho {name} >>{tmp_path}/used\nexec ssh "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    config.write_text("[ssh_connection]\nssh_executable = ssh-of-ours\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(config))
    tasks = [{"ansible.builtin.command": "seq 40000", "changed_when": False}]
    path = tmp_path / "own.yml"
    path.write_text(yaml.safe_dump([{"hosts": "mesh_nodes", "gather_facts": False, "tasks": tasks}]))
    there = sshd.variables | {"ansible_python_interpreter": sys.executable}
    report = look(inventory(gpu1=there), path)
    assert (report.success, report.reason) == (True, "")
    assert set((tmp_path / "used").read_text().split()) == {"ssh-of-ours"}


def test_a_look_that_hangs_over_ssh_is_ended_with_its_ssh_and_its_master_connection(
    inventory: Callable[..., tuple[str, ...]],
    sshd: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, mark = tmp_path / "begun", uuid.uuid4().hex
    (sshd.folder / "authorized").write_text(
        f'command="touch {begun}; exec sleep 300" ' + (sshd.folder / "user.pub").read_text(),
    )
    monkeypatch.setenv("TEST_OWNS", mark)  # sshd was started before
    try:
        report = look(inventory(gpu1=sshd.variables), stop=begun.exists)
        assert begun.exists()
        assert not report.success
        assert processes_with(mark) == []
    finally:
        end_all_with(mark)
