"""The nodes of one host are set up one by one, those of different hosts at the same time; by real Ansible."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from checkout import ROOT

FACTS = ROOT / "roles/mesh_monitor/tasks/facts_for_nodes.yml"
VARIABLES = ROOT / "roles/mesh_node/vars/main.yml"
SHOWN = "{{ inventory_hostname }}={{ __mesh_node_at_once }}"


def test_only_nodes_of_one_host_wait_for_each_other_however_the_inventory_names_it(tmp_path: Path) -> None:
    (gathered,) = (
        task
        for task in yaml.safe_load(FACTS.read_text(encoding="utf-8"))
        if task["name"] == "See which hosts have several nodes"
    )
    resolved = {"ansible.builtin.set_fact": {"__mesh_monitor_mesh": {"nodes": []}}}
    show = {"ansible.builtin.debug": {"msg": SHOWN}, "throttle": "{{ __mesh_node_at_once }}"}
    plays = [
        {"hosts": "mesh_monitors", "gather_facts": False, "tasks": [gathered, resolved]},
        {"hosts": "mesh_nodes", "gather_facts": False, "vars_files": [str(VARIABLES)], "tasks": [show]},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    nodes = {
        "local": {"ansible_connection": "local"},
        "desk": {},
        "twin1": {"ansible_host": "10.0.0.7"},
        "twin2": {"ansible_host": "10.0.0.7"},
        "hall": {},
        "hall2": {"ansible_host": "hall"},
    }
    monitors = {"monitor": {"ansible_connection": "local"}}
    inventory = {"mesh_monitors": {"hosts": monitors}, "mesh_nodes": {"hosts": nodes}}
    (tmp_path / "mesh.yml").write_text(yaml.safe_dump(inventory))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "mesh.yml", "play.yml"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    at_once = dict(re.findall(r'"msg": "(\w+)=(\d)"', done.stdout))
    assert at_once == {"local": "0", "desk": "0", "twin1": "1", "twin2": "1", "hall": "1", "hall2": "1"}
