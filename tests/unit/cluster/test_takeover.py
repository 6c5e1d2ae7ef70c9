"""What a monitor notes about leading: in its first check, while etcd is away, when another one is gone."""

import pytest
from msgspec.structs import replace

from factories import NOW, answers, fails, plain
from gpu_mesh.cluster import takeover
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.cluster import Role
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.state import NodeState, Shared, State

KEYS = ("a", "b", "c", "d")
MESH = Mesh(tuple(map(plain, KEYS)))


def state(*failing: str) -> State:
    """Return a state in which these nodes fail already, and the others are healthy."""
    nodes = {
        key: NodeState(status=Status.OFFLINE, failures=5)
        if key in failing
        else NodeState(status=Status.HEALTHY)
        for key in KEYS
    }
    return State(nodes=nodes, shared=Shared("w", leader="desk"))


def seen(*failing: str) -> dict:
    return {key: fails(key, NOW) if key in failing else answers(key, NOW) for key in KEYS}


def said(of: State) -> list[str]:
    return [f"{each.level}: {each.text}" for each in of.alerts]


@pytest.mark.parametrize(
    ("known", "fail", "left_out"),
    [
        ((), ("a", "b"), ""),  # as many as the brake allows
        ((), ("a", "b", "c"), "abc"),
        (("a",), ("a", "b", "c"), ""),  # of these one failed before
        ((), ("a", "b", "c", "d"), "abcd"),
        ((), (), ""),
    ],
)
def test_after_a_takeover_so_many_new_failures_need_a_second_check(
    known: tuple[str, ...], fail: tuple[str, ...], left_out: str
) -> None:
    assert takeover.unconfirmed(state(*known), MESH, seen(*fail)) == frozenset(left_out)


def test_in_a_small_mesh_and_with_another_brake_it_is_counted_so_too() -> None:
    few = Mesh(MESH.nodes[:3])
    three = {key: fails(key, NOW) for key in KEYS[:3]}
    assert takeover.unconfirmed(state(), few, three) == frozenset()
    loose = Mesh(MESH.nodes, Settings(recovery_brake=90))
    assert takeover.unconfirmed(state(), loose, seen("a", "b", "c")) == frozenset()
    off = Mesh(MESH.nodes, Settings(recovery_brake=0))
    assert takeover.unconfirmed(state(), off, seen("a", "b", "c")) == frozenset("abc")


def test_a_node_that_was_never_checked_is_no_new_failure() -> None:
    assert takeover.unconfirmed(State(shared=Shared("w", leader="desk")), MESH, seen(*KEYS)) == frozenset()


def test_who_leads_now_is_told_once_and_whether_the_one_before_lives() -> None:
    first = state()
    assert takeover.is_first(first, "attic")
    takeover.note(first, "attic", {"attic"}, NOW)
    assert said(first) == ["warning: The monitor desk is gone: attic leads the mesh now"]
    assert not takeover.is_first(first, "attic")
    second = state()
    takeover.note(second, "attic", {"attic", "desk"}, NOW)
    assert said(second) == ["info: attic leads the mesh now, in place of desk, which lives"]
    assert not takeover.is_first(State(shared=Shared()), "desk"), "the first of all takes over from nobody"
    assert not takeover.is_first(State(), "desk")


def test_that_etcd_is_away_is_told_once_and_its_end_once() -> None:
    alone = State(shared=Shared("w", leader="desk", apart_since=NOW - 90))
    takeover.note_away(alone, "attic", Role.ALONE, NOW)
    takeover.note_away(alone, "attic", Role.ALONE, NOW + 30)
    (about,) = said(alone)
    assert about.startswith(
        "warning: etcd is away for 1 min 30 s: attic watches alone, and repairs nothing: "
    )
    assert about.endswith("desk, which led, may do so, too")
    led = State(shared=Shared("w", leader="desk", apart_since=NOW - 90))
    takeover.note_away(led, "desk", Role.LEADER_ALONE, NOW)
    takeover.note_back(led, NOW)
    takeover.note_back(led, NOW)
    assert said(led) == [
        (
            "warning: etcd is away for 1 min 30 s: "
            "desk goes on alone; if others still reach etcd, one of them leads, too"
        ),
        "info: etcd is back: another monitor can take over again",
    ]
    assert led.alerts[-1].ends == (Level.WARNING,)


@pytest.mark.parametrize(
    ("shared", "role", "text"),
    [
        (
            Shared(leader="desk", apart_for="etcd1: no answer in time"),
            Role.LEADER_ALONE,
            "is away for 1 min 30 s: desk goes on alone; {others} (etcd1: no answer in time)",
        ),
        (
            Shared(leader="desk", apart_for="etcd1: too large", refused=True),
            Role.LEADER,
            "does not take the state for 1 min 30 s: desk goes on with {own} (etcd1: too large)",
        ),
        (  # it led before its machine was booted anew
            Shared(leader="desk"),
            Role.ALONE,
            "is away for 1 min 30 s: desk watches alone, and repairs nothing: another one may do so, too",
        ),
    ],
)
def test_that_etcd_is_of_no_use_is_told_with_its_cause(shared: Shared, role: Role, text: str) -> None:
    state = State(shared=replace(shared, apart_since=NOW - 90))
    takeover.note_away(state, "desk", role, NOW)
    others = "if others still reach etcd, one of them leads, too"
    own = "its own copy, which no other monitor has"
    assert said(state) == [f"warning: etcd {text.format(others=others, own=own)}"]


def test_a_monitor_that_is_silent_is_told_after_two_minutes_and_that_it_lives_again_once() -> None:
    names = ("attic", "desk", "porch")
    of = state()
    for passed in (0, 60, 119):
        takeover.note_missing(of, names, {"desk", "attic"}, NOW + passed)
    assert said(of) == []
    for passed in (120, 150):
        takeover.note_missing(of, names, {"desk", "attic"}, NOW + passed)
    assert said(of) == ["warning: The monitor porch is silent for 2 min; 2 of 3 monitors live"]
    for passed in (180, 210):
        takeover.note_missing(of, names, set(names), NOW + passed)
    assert said(of)[1:] == ["info: The monitor porch lives again"]
    assert of.shared is not None
    assert of.shared.missing == {}


def test_a_monitor_that_left_the_inventory_is_missed_no_more() -> None:
    of = state()
    takeover.note_missing(of, ("attic", "desk"), {"desk"}, NOW)
    takeover.note_missing(of, ("attic", "desk"), {"desk"}, NOW + 130)
    takeover.note_missing(of, ("desk",), {"desk"}, NOW + 160)
    assert len(of.alerts) == 1
