"""What strangers see: no address, no host, no URL, no tunnel, no command, no person."""

import re

import msgspec
import pytest
from msgspec.structs import replace

import pages
from factories import NOW, behind, plain
from gpu_mesh.domain.alert import Acknowledgement, Level
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.publishing import feed, page, public, view
from gpu_mesh.publishing.past import Past
from gpu_mesh.reporting.node_report import LoadedModelReport
from gpu_mesh.reporting.report import Report, report

SECRETS = (
    *("10.7.7.7", "fd00::7", "gpu7.corp.example", "pod.example.net", "registry.corp.example", "8001", "7777"),
    *(
        "ollama.service",
        "journalctl",
        "ssh",
        "anna",
        "driver update",
        "0000:0b:00.0",
        "GPU-77",
        "tunnel",
        "Tunnel",
    ),
)


def told() -> tuple[Report, Past]:
    """Return a report in which all that may be a secret is somewhere."""
    shown = pages.mesh(4, pages.IN_TROUBLE, silences=(pages.SILENCE,))
    first, second, third, fourth = shown.nodes
    nodes = (
        replace(
            first,
            node="10.7.7.7",
            name="gpu7.corp.example",
            loaded=("registry.corp.example:7777/a/b:q4",),
            loaded_models=(LoadedModelReport("registry.corp.example:7777/a/b:q4", None, None, None, None),),
        ),
        replace(
            second,
            detail="Tunnel down, port 8001 is closed",
            cause=Cause.TUNNEL_DOWN,
            last_recovery="helped (05:58:20 UTC): restarted ollama.service",
            recovery_reason="silenced by anna",
            acknowledged=Acknowledgement(NOW - 60, "anna", Level.ERROR, "ssh anna"),
            alerts_muted="silenced by anna: driver update",
        ),
        replace(third, node="fd00::7", name="Big box", notes=("ssh anna",), version="0.12.0"),
        fourth,
    )
    emergency = Emergency(NOW - 60, NOW - 5, 3, "no space at gpu7.corp.example", "ssh anna")
    mesh = replace(shown.mesh, inventory_error="gpu7.corp.example: ssh", emergency=emergency)
    past = pages.past(4)
    days = {"10.7.7.7" if key == "gpu0" else key: value for key, value in past.days.items()}
    details = ("connect to 10.7.7.7:7777", "Tunnel down, port 8001 is closed", "A GPU is lost (0000:0b:00.0)")
    incidents = tuple(
        replace(each, node=node, detail=detail, mended=each.mended and "restarted ollama.service")
        for each, detail, node in zip(past.incidents, details, ("10.7.7.7", "gpu1", "fd00::7"), strict=True)
    )
    gone = replace(incidents[0], node="gpu7.corp.example")
    return replace(shown, mesh=mesh, nodes=nodes), Past(days, (*incidents, gone))


def test_nothing_that_strangers_get_tells_where_a_node_is_or_who_looks_after_it() -> None:
    of, past = told()
    shown, seen = public.report(of), public.past(past, public.names(of))
    made = view.page(shown, seen)
    texts = (page.html(made), feed.atom(made, "monitor"), msgspec.json.encode(public.status(shown)).decode())
    for text in texts:
        text = re.sub("(?s)<style>.*</style>", "", text)
        assert [secret for secret in SECRETS if secret in text] == []


def test_strangers_see_names_statuses_and_how_bad_it_is() -> None:
    of, past = told()
    shown = public.report(of)
    assert [node.name for node in shown.nodes] == ["node-1", "Iceland", "Big box", "Rented pod"]
    assert [node.detail for node in shown.nodes] == [
        "",
        "Not serving",
        "The GPU does not work as it should",
        "",
    ]
    assert shown.nodes[0].loaded == ("b:q4",)
    assert view.page(shown, Past()).rows[0].models == "b:q4"
    seen = public.past(past, public.names(of))
    assert [(each.node, each.mended) for each in seen.incidents] == [
        ("node-1", "a repair"),
        ("gpu1", ""),
        ("Big box", ""),
    ]
    assert set(seen.days) == {node.node for node in shown.nodes} - {"Big box"}


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_is_told_in_words_that_name_no_part_of_the_way_to_the_node(cause: Cause) -> None:
    known = NodeState(
        status=pages.OFFLINE.status, verdict=CAUSES[cause].verdict, cause=cause, detail="gpu1 10.0.0.1"
    )
    shown = public.report(report(Mesh((behind("pod", 8001),)), State(nodes={"pod": known}), NOW))
    assert shown.nodes[0].detail in {
        "Not serving",
        "Serving, but not well",
        "A model is missing",
        "The GPU does not work as it should",
    }


KEYS = [
    # key, name → what strangers call it, how it is named
    ("gpu1", "Desk", "gpu1", "Desk"),
    ("gpu1", "10.0.0.5", "gpu1", "gpu1"),
    ("10.0.0.5", "Desk", "Desk", "Desk"),
    ("10.0.0.5", "10.0.0.5", "node-1", "node-1"),
    ("gpu.example.net", "gpu.example.net", "node-1", "node-1"),
    ("fe80::1", "http://x", "node-1", "node-1"),
    ("gpu1", "root@desk", "gpu1", "gpu1"),
    ("gpu1", "desk:11434", "gpu1", "gpu1"),
    ("gpu1", "Box 2.5, left", "gpu1", "Box 2.5, left"),
]


@pytest.mark.parametrize(("key", "name", "shown", "named"), KEYS)
def test_what_looks_like_an_address_is_replaced(key: str, name: str, shown: str, named: str) -> None:
    of = report(Mesh((plain(key, name=name),)), State(), NOW)
    node = public.report(of).nodes[0]
    assert (node.node, node.name) == (shown, named)


def test_two_nodes_never_share_a_name() -> None:
    nodes = (plain("10.0.0.1", name="a"), plain("a"), plain("10.0.0.2", name="a"), plain("node-3"))
    shown = public.names(report(Mesh(nodes), State(), NOW))
    assert len(set(shown.values())) == 4


def test_of_what_mutes_alerts_strangers_see_only_maintenance_without_its_reason() -> None:
    of, _ = told()
    window = replace(
        of.mesh.silences[0], id=None, author="", reason="driver update", nodes=("10.7.7.7", "gpu3")
    )
    shown = public.report(replace(of, mesh=replace(of.mesh, silences=(*of.mesh.silences, window))))
    assert view.page(shown, Past()).silences == ("maintenance: node-1, gpu3 until 10:00 UTC: planned",)


def test_names_that_are_taken_are_told_apart() -> None:
    nodes = (plain("10.0.0.1", name="node-1"), plain("node-1"), plain("10.0.0.2", name="node-1"))
    names = public.names(report(Mesh(nodes), State(), NOW))
    assert names == {"10.0.0.1": "node-1-", "node-1": "node-1", "10.0.0.2": "node-3"}
