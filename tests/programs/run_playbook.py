"""Runs a playbook for the node gpu1 on this machine: run_playbook.py PLAYBOOK INVENTORY."""

import sys
from pathlib import Path

from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.hosts import playbook

path, inventory = sys.argv[1:]
playbook.run(Path(path), Node("gpu1", "one", "http://127.0.0.1:1", on_monitor=True), Settings(), (inventory,))
