"""The first inventory: what a person types, what is written of it, and that Ansible reads it so."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.inventory import starting
from gpu_mesh.inventory.ansible_reader import read


def ports() -> Iterator[int]:
    return itertools.count(8080)


def described(*words: str) -> tuple[Node, ...]:
    return starting.nodes(words, ports())


def as_read(tmp_path: Path, mesh: tuple[Node, ...]) -> Mesh:
    file = tmp_path / "mesh.yml"
    file.write_text(starting.inventory(mesh, {}), encoding="utf-8")
    found = read((str(file),))
    assert found.mesh is not None, found.mistakes
    return found.mesh


PLACES = [
    # what is typed → the URL, the host of ssh, whether it is this machine
    ("192.168.1.20", "http://192.168.1.20:11434", "192.168.1.20", False),
    ("192.168.1.20:8000", "http://192.168.1.20:8000", "192.168.1.20", False),
    ("desk.example.net", "http://desk.example.net:11434", "desk.example.net", False),
    ("fd00::7", "http://[fd00::7]:11434", "fd00::7", False),
    ("[fd00::7]:8000", "http://[fd00::7]:8000", "fd00::7", False),
    ("https://ai.example.net/ollama", "https://ai.example.net/ollama", "ai.example.net", False),
    ("http://[fd00::7]:8000", "http://[fd00::7]:8000", "fd00::7", False),
    ("127.0.0.1:8000", "http://127.0.0.1:8000", "", True),
    ("localhost", "http://localhost:11434", "", True),
    ("[::1]:8000", "http://[::1]:8000", "", True),
]


@pytest.mark.parametrize(("place", "url", "ssh_host", "here"), PLACES)
def test_a_place_is_read_back_from_the_inventory_as_it_was_meant(
    tmp_path: Path, place: str, url: str, ssh_host: str, here: bool
) -> None:
    (node,) = described(f"gpu1={place}")
    assert (node.url, node.on_monitor) == (url, here)
    (again,) = as_read(tmp_path, (node,)).nodes
    assert (again.key, again.url, again.ssh_host, again.on_monitor) == ("gpu1", url, ssh_host, here)


def test_a_login_is_a_tunnel_on_a_port_of_its_own_that_a_command_opens(tmp_path: Path) -> None:
    two = described("pod=root@gpu.example.net:2222", "far=anna@192.0.2.7")
    pod, far = as_read(tmp_path, two).nodes
    assert pod.tunnel is not None
    assert far.tunnel is not None
    assert (pod.url, pod.ssh_port, pod.login) == ("http://127.0.0.1:8080", 2222, two[0].login)
    assert (far.url, far.ssh_port, far.tunnel.local_port) == ("http://127.0.0.1:8081", 22, 8081)
    assert pod.tunnel.recovery_command == (
        "ssh -f -N -o BatchMode=yes -o ConnectTimeout=10 -o ExitOnForwardFailure=yes "
        "-L 127.0.0.1:8080:127.0.0.1:11434 -p 2222 -- root@gpu.example.net"
    )
    assert far.tunnel.recovery_command.endswith("-L 127.0.0.1:8081:127.0.0.1:11434 -- anna@192.0.2.7")


def test_names_that_yaml_would_take_for_something_else_stay_names(tmp_path: Path) -> None:
    keys = ["yes", "null", "123", "1e3", "0x1f", "on", "_a", "2024-01-01", "True"]
    mesh = as_read(tmp_path, described(*(f"{key}=192.168.1.20" for key in keys)))
    assert [node.key for node in mesh.nodes] == keys


def test_every_mistake_is_told_at_once_with_the_word_that_has_it() -> None:
    words = [
        "desk",
        "=192.168.1.20",
        "a b=192.168.1.20",
        "-x=192.168.1.20",
        "gpu1=",
        "gpu2=192.168.1",
        "gpu3=host:0",
        "gpu4=host:65536",
        "gpu5=-oProxyCommand=x",
        "gpu6=-x@host",
        "gpu7=a b@host",
        "gpu8=http://user:secret@host",
        "gpu9=ftp://host",
        "twice=host",
        "twice=other",
    ]
    with pytest.raises(ValueError, match="write NAME=HOST") as told:
        described(*words)
    lines = str(told.value).splitlines()
    wrong = [word for word in words if word != "twice=host"]
    nameless = wrong[1:4]
    expected = [repr(word) if word in nameless else word.partition("=")[0] for word in wrong]
    assert [line.partition(": ")[0] for line in lines] == expected
    assert "secret" not in str(told.value)
    assert "twice" in lines[-1]
    assert all(line.partition(": ")[2] for line in lines)


@pytest.mark.parametrize(
    ("setting", "port"),
    [
        ("", 11434),
        ("0.0.0.0", 11434),
        ("0.0.0.0:8000", 8000),
        ("127.0.0.1:8000", 8000),
        ("http://localhost:8000/", 8000),
        ("[::]:8000", 8000),
        ("192.168.1.20:8000", 11434),  # as a client has it: the Ollama of another machine
        ("nonsense:x", 11434),
    ],
)
def test_this_machines_ollama_is_looked_for_where_it_was_told_to_listen(setting: str, port: int) -> None:
    node = starting.local_node(setting, ())
    assert node is not None
    assert (node.key, node.url, node.on_monitor) == ("local", f"http://127.0.0.1:{port}", True)


def test_this_machines_ollama_is_not_added_to_a_node_that_is_it() -> None:
    assert starting.local_node("", described("box=localhost")) is None
    assert starting.local_node("", described("box=localhost:8000")) is not None
    assert starting.local_node("", described("box=192.168.1.20")) is not None


def test_another_node_cannot_have_the_name_of_this_machines() -> None:
    with pytest.raises(ValueError, match="give the other one another name"):
        starting.local_node("", described("local=192.168.1.20"))


def test_the_models_that_are_there_are_offered_as_expected_ones(tmp_path: Path) -> None:
    desk = described("desk=192.168.1.20")
    text = starting.inventory(desk, {"desk": ["llama3.2:latest", "hf.co/a/b:Q4_K_M"]})
    offered = re.sub("(?m)^      # (mesh_node_expected_models)", r"      \1", text)
    (host,) = yaml.safe_load(offered)["mesh_nodes"]["hosts"].values()
    assert host["mesh_node_expected_models"] == ["llama3.2:latest", "hf.co/a/b:Q4_K_M"]
    many = [f"m{number}" for number in range(starting.MOST_MODELS + 1)]
    assert "expected_models" not in starting.inventory(desk, {"desk": many})


def test_a_models_name_that_ansible_would_fill_in_is_not_written() -> None:
    desk = described("desk=192.168.1.20")
    names = ["{{ lookup('pipe', 'id') }}", 'a"]\nmesh_nodes: x', "good"]
    text = starting.inventory(desk, {"desk": names})
    assert '[ "good"]'.replace(" ", "") in text
    assert "lookup" not in text
    assert text.count("mesh_nodes:") == 1


def test_a_node_of_which_only_its_name_is_known_is_an_entry_too(tmp_path: Path) -> None:
    (node,) = described("gpu1.example.net=gpu1.example.net")
    assert as_read(tmp_path, (node,)).nodes[0].url == "http://gpu1.example.net:11434"
    alone = replace(node, on_monitor=False)
    assert "ansible_host" not in starting.inventory((alone,), {})
