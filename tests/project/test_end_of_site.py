"""What site.yml ends with, and what it renders of hosts in between: a play of those tasks alone."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkout import ROOT
from plays import HERE, play


def node(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "enabled": True, "recovery": "systemd", **more}


def told(
    folder: Path,
    *nodes: dict[str, Any],
    apprise: str = "urls: []\n",
    alertmanagers: str | None = None,
    outcomes: dict[str, str] | None = None,
    were: dict[str, Any] | None = None,
) -> str:
    """Return what the end says of a monitor in user scope on this machine."""
    file = folder / "apprise.yml"
    file.touch(mode=0o600)
    file.write_text(apprise)
    posted = folder / "alertmanager.yml"
    if alertmanagers is not None:
        posted.touch(mode=0o600)
        posted.write_text(alertmanagers)
    monitor = {**HERE, "mesh_monitor_scope": "user", "ansible_host": "10.0.0.2"}
    keys = {each["key"]: {} for each in nodes}
    for key, outcome in (outcomes or {}).items():
        keys[key] = {"__mesh_node_outcome": outcome}
    facts = {
        "__mesh_monitor_mesh": {
            "nodes": list(nodes),
            "settings": {
                "check_interval": 30.0,
                "apprise_config": str(file),
                "alertmanager_config": str(posted),
            },
        },
        "__mesh_monitor_were": {"stdout": json.dumps(were or {})},
    }
    return play(
        folder,
        {"mesh_monitors": {"hosts": {"monitor": monitor}}, "mesh_nodes": {"hosts": keys}},
        {"ansible.builtin.set_fact": facts},
        {
            "ansible.builtin.import_role": {"name": "mesh_monitor", "tasks_from": "tell.yml"},
            "vars": {"__mesh_monitor_command": str(Path(sys.executable).parent / "gpu-mesh")},
        },
    )


KEY = "/etc/gpu-mesh/ssh/id_ed25519"
GONE = {
    "plain": {"ansible_host": "10.0.0.7", "ansible_user": "gpu-mesh", "ansible_ssh_private_key_file": KEY},
    "owned": {
        "ansible_host": "10.0.0.8",
        "ansible_port": 2222,
        "ansible_user": "keeper",
        "mesh_node_recovery": "systemd-user",
        "ansible_ssh_common_args": '-o A=b -o ProxyCommand="ssh -W [%h]:%p -o A=b ssh://ops@jump:22"',
    },
    "here": {"ansible_connection": "local", "mesh_node_unit": "other.service"},
    "pod": {"mesh_node_recovery": "none", "mesh_tunnel_host": "pod.example.net"},
    "lent": {"ansible_user": "keeper", "ansible_ssh_private_key_file": "/etc/gpu-mesh/ssh/lent.key"},
    "own": {"mesh_node_recovery": "command"},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the end says where all is well and some nodes have left: one play for two tests."""
    urls = "urls:\n  - json://127.0.0.1:1/\n  - json://127.0.0.1:2/: {tag: critical}\n"
    nodes = (node("desk"), node("old", enabled=False))
    return told(tmp_path_factory.mktemp("end"), *nodes, apprise=urls, were={"desk": {}, **GONE})


def test_the_end_names_what_is_watched_who_is_told_and_what_comes_next(said: str) -> None:
    assert "monitor watches 1 node, every 30 s: desk; not enabled: old" in said
    assert "Alerts go to 2 URLs: critical to 2, error to 1, warning to 1, info to 0" in said
    assert "Nothing is checked yet. Next: ansible-playbook site.yml --tags configure,run" in said


def test_the_end_names_alertmanagers_and_their_mistakes(tmp_path: Path) -> None:
    two = "alertmanagers:\n  - url: http://127.0.0.1:1\n  - url: http://127.0.0.1:2\n"
    said = told(tmp_path, node("desk"), alertmanagers=two)
    assert "Alerts go to 2 Alertmanagers" in said
    assert "Nobody is told" not in said
    said = told(tmp_path, node("desk"), alertmanagers="alertmanagers:\n  - ulr: http://127.0.0.1:1\n")
    assert f"{tmp_path}/alertmanager.yml line 2: unknown option ulr; did you mean url?" in said
    assert "Nobody is told of anything" in said


def test_the_end_names_what_is_missing(tmp_path: Path) -> None:
    nodes = (node("desk"), node("wide"), node("lent", recovery="none"))
    said = told(tmp_path, *nodes, outcomes={"desk": "begun", "wide": "powerless"})
    assert (
        f"Nobody is told of anything: {tmp_path}/apprise.yml has no URL. Write where alerts go into a file"
        in said
    )
    assert "Not set up, and so not repaired: desk. " in said
    assert "then: ansible-playbook playbooks/nodes.yml -l desk,monitor" in said
    assert "beyond repair for a monitor that runs as a user, as said above: wide" in said
    assert "Watched, but never repaired (mesh_node_recovery is none): lent" in said
    assert "desk, monitor" not in said


LOGIN = "the user gpu-mesh with the key of the monitor"
RUN = "ansible-playbook playbooks/uninstall.yml -e gpu_mesh_gone="


def test_a_node_that_has_left_is_named_with_what_takes_away_what_stays_on_it(said: str) -> None:
    left, its_login = "has left the inventory.", "-e gpu_mesh_recovery_user=keeper"
    for line in (
        f"plain {left} On 10.0.0.7 stay: {LOGIN}, the right to restart ollama.service. ",
        f"{RUN}plain -e gpu_mesh_address=10.0.0.7",
        f"owned {left} On 10.0.0.8 stay: the key of the monitor in authorized_keys of keeper. ",
        f"{RUN}owned -e gpu_mesh_address=10.0.0.8 -e gpu_mesh_port=2222 -e gpu_mesh_recovery=systemd-user",
        f"-e gpu_mesh_recovery=systemd-user {its_login} --ssh-common-args='-J ops@jump:22'",
        f"here {left} On 10.0.0.2 stay: the right to restart other.service. ",
        f"{RUN}here -e gpu_mesh_address=10.0.0.2 -e ansible_connection=local -e gpu_mesh_unit=other.service",
        f"pod {left} On pod stay: {LOGIN}. ",
        f"{RUN}pod -e gpu_mesh_address=pod -e gpu_mesh_recovery=none -e gpu_mesh_tunnel_host=pod.example.net",
        f"lent {left} Nothing was changed on lent, but its owner may withdraw the key of keeper",
        f"own {left} Nothing was changed on own",
    ):
        assert line in said
    assert said.count(RUN) == 4
    assert "desk has left" not in said


def test_a_host_in_between_is_rendered_for_the_monitor_unless_that_is_behind_it_too(tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAjump"
    nodes = {
        "plain": {"ansible_ssh_common_args": "-F /home/ops/ssh_config -o ControlPersist=60"},
        "far": {
            "ansible_host": "10.1.0.7",
            "ansible_ssh_common_args": "-F /home/ops/ssh_config -J ops@jump.example.net:2222",
            "mesh_node_jump_host_key": key,
        },
        "other": {"ansible_ssh_extra_args": '-o ProxyCommand="nc -x proxy:1080 %h %p"'},
        "near": {"ansible_ssh_common_args": "-o ProxyJump=office"},
    }
    monitor = {**HERE, "ansible_ssh_common_args": "-J office"}
    rendered, hosts = tmp_path / "rendered.yml", tmp_path / "known_hosts"
    etc = ROOT / "roles/mesh_monitor/templates/etc/gpu-mesh"
    play(
        tmp_path,
        {"mesh_monitors": {"hosts": {"monitor": monitor}}, "mesh_nodes": {"hosts": nodes}},
        {"ansible.builtin.include_vars": str(ROOT / "roles/mesh_monitor/vars/main.yml")},
        {"ansible.builtin.include_vars": str(ROOT / "roles/mesh_monitor/defaults/main.yml")},
        {
            "ansible.builtin.set_fact": {
                "__mesh_monitor_host_keys": {"results": []},
                "__mesh_monitor_known": {},
            }
        },
        {
            "ansible.builtin.template": {
                "src": str(etc / "inventory/mesh.yml.j2"),
                "dest": str(rendered),
                "mode": "0600",
            }
        },
        {
            "ansible.builtin.template": {
                "src": str(etc / "known_hosts.j2"),
                "dest": str(hosts),
                "mode": "0600",
            }
        },
    )
    mesh = yaml.safe_load(rendered.read_text())["mesh_nodes"]
    options = mesh["vars"]["ansible_ssh_common_args"]
    assert "StrictHostKeyChecking=yes" in options
    assert {name: made.get("ansible_ssh_common_args") for name, made in mesh["hosts"].items()} == {
        "plain": None,
        "far": f"{options} -o "
        f'ProxyCommand="ssh -W [%h]:%p -i {KEY} {options} ssh://ops@jump.example.net:2222"',
        "other": f'{options} -o ProxyCommand="nc -x proxy:1080 %h %p"',
        "near": None,
    }
    assert "mesh_node_jump_host_key" not in rendered.read_text()
    assert f"[jump.example.net]:2222 {key}" in hosts.read_text()
