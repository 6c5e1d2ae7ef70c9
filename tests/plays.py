"""Plays of a part of a role, on this machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from checkout import ROOT

HERE = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
FACTS = {"ansible.builtin.setup": {"gather_subset": ["min"]}}


def play(folder: Path, inventory: dict[str, Any], *tasks: dict[str, Any]) -> str:
    """Run these tasks on the monitors, and return what was printed, as one line."""
    whole = [{"name": "Try it", "hosts": "mesh_monitors", "gather_facts": False, "tasks": [FACTS, *tasks]}]
    (folder / "play.yml").write_text(yaml.safe_dump(whole, sort_keys=False))
    (folder / "mesh.yml").write_text(yaml.safe_dump(inventory))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", folder / "mesh.yml", folder / "play.yml"],
        env={
            **os.environ,
            "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())
