"""Ansible's own ways of writing an inventory, read by the process that reads them in service."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from checkout import PROGRAMS
from gpu_mesh.cli import validate
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory import reader
from gpu_mesh.inventory.mistakes import describe
from gpu_mesh.system.paths import Paths
from sites import end_all_with, eventually, processes_with

Write = Callable[..., Path]
SCRIPT = """#!/bin/sh
echo '{"mesh_nodes": {"hosts": ["iceland"]}, "_meta": {"hostvars": {"iceland": {"mesh_node_timeout": 7}}}}'
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file below the test's own folder; nothing of this machine's Ansible configuration counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)

    def to(name: str, text: str, mode: int = 0o644) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    to("ansible.cfg", "[defaults]\n")
    return to


def mesh_of(*sources: Path) -> Mesh:
    found = reader.read(tuple(map(str, sources)), None)
    assert found.mesh is not None, describe(found.mistakes)
    return found.mesh


def told_of(*sources: Path) -> str:
    found = reader.read(tuple(map(str, sources)), None)
    assert found.mesh is None
    return describe(found.mistakes)


def encrypt(file: Path, password: Path) -> None:
    vault = Path(sys.executable).with_name("ansible-vault")
    subprocess.run(
        [vault, "encrypt", "--vault-password-file", password, file], check=True, capture_output=True
    )


def test_group_vars_and_host_vars_beside_a_file_count(write: Write) -> None:
    source = write("mesh.ini", "[mesh_nodes]\niceland\nnorway\n")
    write("group_vars/mesh_nodes.yml", "mesh_node_timeout: 4\nmesh_node_alert_tags: [gpu]\n")
    write("host_vars/norway/main.yml", "mesh_node_timeout: 6\n")
    assert [(node.timeout, node.alert_tags) for node in mesh_of(source).nodes] == [
        (4.0, ("gpu",)),
        (6.0, ("gpu",)),
    ]


def test_a_folder_of_ini_and_yaml_files_is_one_inventory(write: Write) -> None:
    write("inventory/10-one.ini", "[mesh_nodes]\niceland\n")
    write("inventory/20-two.yml", "mesh_nodes:\n  hosts:\n    norway:\n")
    folder = write("inventory/group_vars/all.yml", "mesh_node_timeout: 4\n").parents[1]
    assert [(node.key, node.timeout) for node in mesh_of(folder).nodes] == [("iceland", 4.0), ("norway", 4.0)]


def test_of_two_sources_the_later_one_wins(write: Write) -> None:
    first = write("a/mesh.ini", "[mesh_nodes]\niceland\n")
    write("a/group_vars/all.yml", "mesh_node_timeout: 4\nmesh_node_name: A\n")
    second = write("b/mesh.ini", "[mesh_nodes]\nnorway mesh_node_name=N\n")
    write("b/group_vars/all.yml", "mesh_node_timeout: 6\n")
    assert [(node.name, node.timeout) for node in mesh_of(first, second).nodes] == [("A", 6.0), ("N", 6.0)]


def test_group_vars_of_the_working_directory_do_not_count(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write("inventory/mesh.ini", "[mesh_nodes]\niceland\n")
    write("elsewhere/group_vars/all.yml", "mesh_node_timeout: 4\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mesh_of(source).nodes[0].timeout == 10.0


def test_a_service_without_a_home_can_read_it(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert mesh_of(write("mesh.ini", "[mesh_nodes]\niceland\n")).nodes[0].key == "iceland"


def test_a_script_describes_nodes(write: Write) -> None:
    assert mesh_of(write("mesh.sh", SCRIPT, 0o755)).nodes[0].timeout == 7.0


def test_a_script_that_fails_is_told_with_its_status(write: Write) -> None:
    source = write("mesh.sh", "#!/bin/sh\nexit 3\n", 0o755)
    assert told_of(source) == f"{source}: Inventory script returned non-zero exit code 3"


def test_a_script_that_hangs_is_ended_with_its_children(write: Write, tmp_path: Path) -> None:
    source = write("mesh.sh", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 600\n", 0o755)
    found = reader.read((str(source),), None, limit=5.0)
    told = "reading the inventory took longer than 5 s: an inventory script may hang"
    assert describe(found.mistakes) == f"{source}: {told}"
    pid = (tmp_path / "pid").read_text(encoding="utf-8").strip()
    # One that has died but was not waited for yet has no program any more.
    assert eventually(lambda: not Path(f"/proc/{pid}/exe").exists(), 10.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_is_stopped_while_a_script_runs_leaves_nobody_and_nothing_behind(
    number: int, write: Write, tmp_path: Path
) -> None:
    source = write("mesh.sh", f"#!/bin/sh\necho started > {tmp_path}/started\nsleep 600\n", 0o755)
    mark = f"MARK={tmp_path}"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    asking = subprocess.Popen(
        [sys.executable, PROGRAMS / "read_inventory.py", source],
        env={**os.environ, "MARK": str(tmp_path), "TMPDIR": str(temporary)},
    )
    try:
        assert eventually((tmp_path / "started").exists)
        assert len(processes_with(mark)) >= 3
        asking.send_signal(number)
        asking.wait()
        assert eventually(lambda: not processes_with(mark), 10.0)
        assert list(temporary.iterdir()) == []
    finally:
        asking.kill()
        asking.wait()
        end_all_with(mark)


def test_a_plugins_configuration_adds_groups(write: Write) -> None:
    write("inventory/a.ini", "iceland gpu=yes\nnorway gpu=no\n")
    folder = write(
        "inventory/z.yml",
        "plugin: ansible.builtin.constructed\nstrict: true\ngroups:\n  mesh_nodes: gpu == 'yes'\n",
    ).parent
    assert [node.key for node in mesh_of(folder).nodes] == ["iceland"]


def test_a_template_may_name_another_hosts_variables(write: Write) -> None:
    source = write(
        "mesh.yml",
        "mesh_nodes:\n  hosts:\n    iceland:\n      site: north\n    norway:\n"
        "      mesh_node_name: \"{{ hostvars['iceland'].site }} {{ groups['mesh_nodes'] | length }}\"\n",
    )
    assert mesh_of(source).nodes[1].name == "north 2"


@pytest.mark.parametrize("named_by", ["environment", "ansible.cfg"])
def test_a_vault_is_opened_with_the_password_file(
    named_by: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write("mesh.ini", "[mesh_nodes]\niceland\n")
    password = write("password", "correct horse\n", 0o600)
    encrypt(write("group_vars/all.yml", "mesh_node_timeout: 4\n"), password)
    if named_by == "environment":
        monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    else:
        write("ansible.cfg", f"[defaults]\nvault_password_file = {password}\n")
    found = reader.read((str(source),), None)
    assert found.mesh is not None, describe(found.mistakes)
    assert found.mesh.nodes[0].timeout == 4.0
    assert str(password) in found.files


def test_a_vault_without_its_password_names_the_file(write: Write) -> None:
    source = write("mesh.ini", "[mesh_nodes]\niceland\n")
    secret = write("group_vars/all.yml", "mesh_node_timeout: 4\n")
    encrypt(secret, write("password", "correct horse\n", 0o600))
    assert told_of(source) == f"{secret}: Attempting to decrypt but no vault secrets found"


@pytest.mark.parametrize("place", ["mesh.yml", "group_vars/all.yml"])
def test_broken_yaml_names_file_and_line(place: str, write: Write) -> None:
    write("mesh.yml", "mesh_nodes:\n  hosts:\n    iceland:\n")
    broken = write(place, "mesh_nodes:\n  hosts:\n    a: [b\n    c: d\n")
    assert told_of(
        write("mesh.yml", (broken.parent / "mesh.yml").read_text())
        if place == "mesh.yml"
        else broken.parents[1] / "mesh.yml"
    ).startswith(f"{broken}:4: YAML parsing failed")


def test_a_key_that_stands_twice_names_file_and_line(write: Write) -> None:
    url = "      mesh_node_url: http://192.0.2.7:11434\n"
    source = write("mesh.yml", f"mesh_nodes:\n  hosts:\n    iceland:\n{url}{url}")
    problem = "Found duplicate mapping key 'mesh_node_url': only the later value counts"
    assert told_of(source) == f"{source}:5: {problem}"


def test_hosts_that_were_pasted_at_the_end_of_the_file_are_told_with_where_they_belong(write: Write) -> None:
    first = "mesh_nodes:\n  hosts:\n    iceland:\n"
    source = write("mesh.yml", f"{first}{first.replace('iceland', 'norway')}")
    problem = "Found duplicate mapping key 'mesh_nodes': only the later value counts"
    where = "write its hosts below the first one, or into another file of an inventory folder"
    assert told_of(source) == f"{source}:4: {problem}; {where}"


def test_a_source_that_nothing_can_parse_is_no_empty_inventory(write: Write) -> None:
    good = write("good.ini", "[mesh_nodes]\niceland\n")
    bad = write("bad.ini", "[mesh_nodes\niceland\n")
    assert told_of(good, bad).startswith(f"{bad}:1: Failed to parse inventory")


def test_every_missing_source_is_named(write: Write, tmp_path: Path) -> None:
    assert told_of(tmp_path / "a", tmp_path / "b") == "\n".join(
        f"{tmp_path}/{name}: there is no such inventory; begin one with gpu-mesh init, or name one with -i"
        for name in "ab"
    )


def test_a_plugin_that_prints_does_not_spoil_the_answer(write: Write) -> None:
    write("plugins/chatty.py", (PROGRAMS / "chatty.py").read_text())
    source = write("mesh.yml", "plugin: chatty\n")
    write(
        "ansible.cfg",
        f"[defaults]\ninventory_plugins = {source.parent}/plugins\n[inventory]\nenable_plugins = chatty\n",
    )
    assert mesh_of(source).nodes[0].key == "iceland"


def paths_of(source: Path) -> Paths:
    return Paths((str(source),), source.parent, source.parent / "state", source.parent / "log")


def test_validate_shows_the_mesh(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(
        "mesh.ini",
        "[mesh_nodes]\nlocal ansible_connection=local mesh_node_recovery=docker\n"
        "iceland mesh_tunnel_host=gpu.example.net mesh_tunnel_local_port=8080 mesh_node_enabled=no\n",
    )
    assert validate.validate(paths_of(source), None, as_json=False) == 0
    assert capsys.readouterr().out == (
        "NODE     URL                     THROUGH                    RECOVERY\n"
        "local    http://127.0.0.1:11434  -                          docker ollama\n"
        "iceland  http://127.0.0.1:8080   tunnel to gpu.example.net  systemd ollama.service (not enabled)\n"
        "2 nodes, no mistakes\n"
    )


def test_validate_notes_nodes_that_are_one_ollama(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = "norway mesh_node_url=http://192.0.2.7:11434\nfaroe mesh_node_url=http://192.0.2.7:11434\n"
    gateway = "".join(
        f'{key} mesh_node_url=http://192.0.2.8:80 mesh_node_headers=\'{{"X-To": "{key}"}}\'\n' for key in "ab"
    )
    source = write("mesh.ini", f"[mesh_nodes]\niceland\n{nodes}{gateway}")
    assert validate.validate(paths_of(source), None, as_json=False) == 0
    note = "norway, faroe have the same URL, http://192.0.2.7:11434: one Ollama is watched 2 times"
    assert [line for line in capsys.readouterr().out.splitlines() if "note" in line] == [f"note: {note}"]
    assert validate.validate(paths_of(source), None, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == [note]


def test_validate_notes_a_url_without_a_port_or_with_a_path_of_the_api(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = (
        *("http://192.0.2.7", "http://[fd00::7]", "http://192.0.2.8:80", "https://gpu.example.net"),
        *("http://192.0.2.9/ollama", "http://192.0.2.10:11434/v1", "https://gpu.example.net/ollama/api/tags"),
    )
    nodes = "".join(f"n{number} mesh_node_url={url}\n" for number, url in enumerate(urls))
    source = write("mesh.ini", f"[mesh_nodes]\n{nodes}")
    assert validate.validate(paths_of(source), None, as_json=False) == 0
    adds = "the monitor adds /api/tags and so on itself"
    portless = "names no port, so it is asked at port 80; Ollama's own is 11434"
    assert [line for line in capsys.readouterr().out.splitlines() if "note" in line] == [
        f"note: n0: http://192.0.2.7 {portless}",
        f"note: n1: http://[fd00::7] {portless}",
        f"note: n5: http://192.0.2.10:11434/v1 should end before /v1: {adds}",
        f"note: n6: https://gpu.example.net/ollama/api/tags should end before /api/tags: {adds}",
    ]


def test_validate_gives_roles_the_resolved_mesh(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    source = write("mesh.ini", "[mesh_nodes]\niceland\n[mesh_monitors]\nhome\n")
    assert validate.validate(paths_of(source), None, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["monitor"]) == (2, "home")
    assert document["settings"]["check_interval"] == 30.0
    assert document["nodes"][0]["unit"] == "ollama.service"
    assert document["nodes"][0]["addresses"] == ["127.0.0.1:11434", "iceland:11434"]


def test_validate_tells_all_mistakes_at_once(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    source = write("mesh.ini", "[mesh_nodes]\niceland mesh_node_enabled=soon\nnorway mesh_node_unit=x\n")
    assert validate.validate(paths_of(source), None, as_json=True) == 2
    out, err = capsys.readouterr()
    assert [mistake["host"] for mistake in json.loads(out)["mistakes"]] == ["iceland", "norway"]
    assert err.splitlines() == [
        f"{source}:2: iceland: mesh_node_enabled must be true or false, not 'soon'",
        f"{source}:3: norway: mesh_node_unit must be a unit such as ollama.service, not 'x'",
    ]
