"""Where strangers may find the mesh's Ollamas, what they get there, and whether versions differ."""

import pytest

from factories import behind, plain
from gpu_mesh.diagnosis import exposure
from gpu_mesh.diagnosis.exposure import Answers, Door
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Fault, Observation, Reply

PUBLIC, LAN, OVERLAY = "1.2.3.4", "192.168.1.20", "100.64.0.7"
NAMES = {"open.example.net": (LAN, PUBLIC), "lan.example.net": (LAN,), "gone.example.net": ()}

ADDRESSES = [
    (PUBLIC, True),
    ("2606:4700::1111", True),
    ("::ffff:1.2.3.4", True),
    (LAN, False),
    ("10.0.0.1", False),
    (OVERLAY, False),  # shared address space: carriers, and overlays such as Tailscale
    ("127.0.0.1", False),
    ("169.254.1.1", False),
    ("fd00::7", False),
    ("fe80::1%eth0", False),
    ("::1", False),
    ("::ffff:192.168.1.20", False),
    ("224.0.0.1", False),
    ("192.0.2.7", False),  # documentation
    ("nonsense", False),
]


@pytest.mark.parametrize(("address", "public"), ADDRESSES)
def test_public_is_what_can_be_reached_from_anywhere(address: str, public: bool) -> None:
    assert exposure.is_public(address) is public


def urls(*nodes: Node, own: tuple[str, ...] = ()) -> list[str]:
    mesh = Mesh(nodes)
    addresses = {host: NAMES.get(host, (host,)) for host in exposure.hosts(mesh)}
    return [door.url for door in exposure.doors(mesh, addresses, own)]


def at(key: str, host: str, **fields: object) -> Node:
    return plain(key, **{"url": f"http://{host}:11434", "ssh_host": host, **fields})


DOORS = [
    pytest.param(at("gpu1", PUBLIC), [f"http://{PUBLIC}:11434"], id="a public address"),
    pytest.param(
        at("gpu1", "open.example.net"), ["http://open.example.net:11434"], id="a name with a public address"
    ),
    pytest.param(at("gpu1", LAN), [], id="a private address"),
    pytest.param(at("gpu1", OVERLAY), [], id="an overlay"),
    pytest.param(at("gpu1", "lan.example.net"), [], id="a name with a private address"),
    pytest.param(at("gpu1", "gone.example.net"), [], id="a name that does not resolve"),
    pytest.param(
        at("gpu1", PUBLIC, url="http://[2606:4700::1111]:8000", ssh_host="2606:4700::1111"),
        ["http://[2606:4700::1111]:8000"],
        id="IPv6 at a port of its own",
    ),
    pytest.param(
        at("gpu1", PUBLIC, url="https://open.example.net/ollama", ssh_host="open.example.net"),
        ["https://open.example.net/ollama", "http://open.example.net:11434"],
        id="a proxy, and Ollama itself behind it on the same host",
    ),
    pytest.param(
        at("gpu1", OVERLAY, ssh_host=PUBLIC), [f"http://{PUBLIC}:11434"], id="an overlay, and ssh in public"
    ),
    pytest.param(behind("pod", 8080, PUBLIC), [f"http://{PUBLIC}:11434"], id="a tunnel to a public host"),
    pytest.param(behind("pod", 8080, LAN), [], id="a tunnel to a private host"),
    pytest.param(at("gpu1", PUBLIC, enabled=False), [], id="a node that is not watched"),
]


@pytest.mark.parametrize(("node", "expected"), DOORS)
def test_a_door_is_a_public_place_at_which_ollama_may_answer(node: Node, expected: list[str]) -> None:
    assert urls(node) == expected


def test_a_node_on_the_monitor_is_asked_for_at_the_monitors_own_public_addresses() -> None:
    here = plain("local", url="http://127.0.0.1:8000", on_monitor=True)
    assert urls(here, own=(LAN, PUBLIC, "2606:4700::1111")) == [
        f"http://{PUBLIC}:8000",
        "http://[2606:4700::1111]:8000",
    ]


def test_a_stranger_has_neither_the_nodes_headers_nor_its_tunnel() -> None:
    node = behind("pod", 8080, PUBLIC, headers={"Authorization": "@/secret"})
    asked = exposure.stranger(node, Door("pod", f"http://{PUBLIC}:11434"))
    assert (asked.url, asked.headers, asked.tunnel) == (f"http://{PUBLIC}:11434", {}, None)


def seen(fault: Fault | None = None, status: int = 0, version: str | None = None) -> Observation:
    return Observation("gpu1", 0.0, Reply(fault, status), models=() if fault else ("a", "b"), version=version)


ANSWERS = [
    (seen(), Answers.ALL),
    (seen(Fault.STATUS, 401), Answers.SOME),
    (seen(Fault.STATUS, 403), Answers.SOME),
    (seen(Fault.STATUS, 404), Answers.OTHER),
    (seen(Fault.REDIRECT, 302), Answers.OTHER),
    (seen(Fault.NOT_JSON, 200), Answers.OTHER),
    (seen(Fault.REFUSED), Answers.NOBODY),
    (seen(Fault.CONNECT_TIMEOUT), Answers.NOBODY),
    (seen(Fault.NO_ROUTE), Answers.NOBODY),
]


@pytest.mark.parametrize(("reply", "answers"), ANSWERS)
def test_only_whoever_lists_its_models_to_a_stranger_is_open(reply: Observation, answers: Answers) -> None:
    door = Door("gpu1", f"http://{PUBLIC}:11434")
    node = at("gpu1", PUBLIC)
    found = exposure.judge(Mesh((node,)), (door,), {door.url: reply}, {"gpu1": seen(version="0.12.6")})
    assert [each.answers for each in found.seen] == [answers]
    assert found.is_fine is (answers is not Answers.ALL)
    assert [each.models for each in found.open] == ([2] if answers is Answers.ALL else [])


def versions(**known: str | None) -> exposure.Exposure:
    mesh = Mesh(tuple(at(key, LAN) for key in known))
    return exposure.judge(mesh, (), {}, {key: seen(version=version) for key, version in known.items()})


def test_versions_are_sorted_as_numbers_the_newest_first() -> None:
    found = versions(a="0.12.9", b="0.12.10", c="0.12.10-rc1", d="0.12.9", e=None)
    assert list(found.versions.items()) == [
        ("0.12.10", ("b",)),
        ("0.12.10-rc1", ("c",)),
        ("0.12.9", ("a", "d")),
    ]
    assert found.silent == ("e",)
    assert not found.is_fine


def test_one_version_everywhere_is_fine_even_if_a_node_tells_none() -> None:
    assert versions(a="0.12.9", b="0.12.9", c=None).is_fine
    assert versions(a=None).is_fine
