"""The nodes' host keys are read at the nodes, however the inventory says where they are; by real Ansible."""

from pathlib import Path

import yaml

from checkout import ROOT
from plays import HERE, play

TASKS = ROOT / "roles/mesh_monitor/tasks/ssh_host_keys.yml"


def test_an_address_that_is_a_template_is_filled_in_with_the_name_of_its_node(tmp_path: Path) -> None:
    read = yaml.safe_load(TASKS.read_text(encoding="utf-8"))
    asked = [place for place, task in enumerate(read) if "ansible.builtin.raw" in task]
    (end,) = (place + 1 for place in asked)
    at = {"ansible_host": "127.0.0.{{ inventory_hostname | split('-') | last }}", "ansible_port": 1}
    inventory = {"mesh_monitors": {"hosts": {"monitor-3": HERE}}, "mesh_nodes": {"hosts": {"box-9": at}}}
    assert "connect to host 127.0.0.9 port 1" in play(tmp_path, inventory, *read[:end])
