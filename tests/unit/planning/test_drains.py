"""When a node drains before a repair, how long, and what ends it."""

import pytest
from msgspec.structs import replace

from factories import GPU1, NOW, plain, refusing
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.recovery import Decision, Drain
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import claims, drains, plan

A, B = replace(GPU1, key="a"), plain("b")
WELL = NodeState(status=Status.HEALTHY, verdict=Verdict.OK, models=("m",))
IMPAIRED = NodeState(
    status=Status.DEGRADED,
    verdict=Verdict.IMPAIRED,
    cause=Cause.CPU_FALLBACK,
    detail="A model runs on the CPU",
    cause_since=NOW - 600,
    incident_since=NOW - 600,
    impaired=20,
    served=20,
    models=("m",),
    vram={"m:latest": 1.0},
)
DRAINS = Drain(NOW - 10, NOW + 50)
OVER = Drain(NOW - 61, NOW - 1)
BY_ANNA = Drain(NOW - 10, NOW + 3600, "anna", "a new card")


def draining(known: NodeState, drain: Drain | None) -> NodeState:
    return drains.drained(known, drain)


def decided(a: NodeState, b: NodeState = WELL, *, node: Node = A, force: bool = False) -> Decision:
    mesh, state = Mesh((node, B)), State(nodes={"a": a, "b": b})
    return plan.plan(mesh, state, NOW, "a" if force else "", force=force)[0]


def updated(a: NodeState, b: NodeState = WELL, *, node: Node = A) -> tuple[Drain | None, list[str]]:
    mesh, state = Mesh((node, B)), State(nodes={"a": a, "b": b})
    assert drains.may_change(state)
    events = drains.update(state, mesh, plan.plan(mesh, state, NOW), NOW)
    return state.nodes["a"].recovery.drain, [event.name for event in events]


@pytest.mark.parametrize(
    ("a", "b", "node", "reason"),
    [
        (IMPAIRED, WELL, A, "it is repaired once it has taken no new requests for 60 s"),
        (draining(IMPAIRED, DRAINS), WELL, A, "it takes no new requests, and is repaired at"),
        (draining(IMPAIRED, BY_ANNA), WELL, A, "it takes no new requests, and is repaired at"),
        (draining(IMPAIRED, OVER), WELL, A, ""),
        (draining(IMPAIRED, replace(BY_ANNA, at=NOW - 60)), WELL, A, ""),
        (draining(IMPAIRED, replace(BY_ANNA, until=NOW - 1)), WELL, A, "it is repaired once"),
        (IMPAIRED, WELL, replace(A, drain=0.0), ""),
        (IMPAIRED, refusing(), A, ""),
        (IMPAIRED, draining(WELL, BY_ANNA), A, ""),
        (IMPAIRED, replace(WELL, models=()), A, ""),
        (refusing(), WELL, A, ""),
    ],
    ids=[
        "it drains first",
        "it drains",
        "a person drains it",
        "it has drained",
        "a person has drained it long enough",
        "a person's drain is over",
        "the setting says not to",
        "no other node serves",
        "the other node drains",
        "the other node has no model",
        "it fails",
    ],
)
def test_a_repair_waits_for_the_drain_only_if_it_can(
    a: NodeState, b: NodeState, node: Node, reason: str
) -> None:
    decision = decided(a, b, node=node)
    assert (decision.action is Action.NONE, decision.drains) == (bool(reason), bool(reason))
    assert not reason or decision.reason.startswith(reason)


def test_the_repair_falls_due_when_the_drain_is_over() -> None:
    assert decided(IMPAIRED).due == NOW + 60
    assert decided(draining(IMPAIRED, DRAINS)).due == NOW + 50


def test_a_person_who_forces_a_repair_does_not_wait() -> None:
    assert decided(IMPAIRED, force=True).action is Action.RESTART_OLLAMA


CLAIMED = claims.claimed(draining(IMPAIRED, OVER), Action.RESTART_OLLAMA, NOW - 1, 300, 1)


@pytest.mark.parametrize(
    ("a", "drain", "events"),
    [
        (IMPAIRED, Drain(NOW, NOW + 60), ["drain_begun"]),
        (draining(IMPAIRED, DRAINS), DRAINS, []),
        (draining(IMPAIRED, OVER), OVER, []),
        (CLAIMED, OVER, []),
        (draining(WELL, DRAINS), None, ["drain_ended"]),
        (draining(replace(IMPAIRED, cause=Cause.MODELS_MISSING), DRAINS), None, ["drain_ended"]),
        (draining(IMPAIRED, BY_ANNA), BY_ANNA, []),
        (draining(WELL, BY_ANNA), BY_ANNA, []),
        (draining(WELL, replace(BY_ANNA, until=NOW)), None, ["drain_ended"]),
        (draining(refusing(), DRAINS), DRAINS, []),
    ],
    ids=[
        "a repair is due",
        "it drains",
        "it has drained, and the repair is due",
        "it is being repaired",
        "it is well",
        "a repair does not help any more",
        "a person drains it",
        "a person drains it, and it is well",
        "a person's drain is over",
        "it fails now",
    ],
)
def test_a_drain_lasts_until_the_node_is_well_or_repaired(
    a: NodeState, drain: Drain | None, events: list[str]
) -> None:
    assert updated(a) == (drain, events)


def test_of_nodes_that_are_all_impaired_one_goes_on_serving() -> None:
    mesh, state = Mesh((A, B)), State(nodes={"a": IMPAIRED, "b": IMPAIRED})
    drains.update(state, mesh, plan.plan(mesh, state, NOW), NOW)
    assert [bool(state.nodes[key].recovery.drain) for key in "ab"] == [True, False]
    assert [each.action for each in plan.plan(mesh, state, NOW)] == [Action.NONE, Action.RESTART_OLLAMA]


@pytest.mark.parametrize(
    ("known", "later", "is_draining"),
    [
        (IMPAIRED, 0, False),
        (draining(IMPAIRED, DRAINS), 0, True),
        (draining(IMPAIRED, DRAINS), 50 + drains.PATIENCE - 1, True),
        (draining(IMPAIRED, DRAINS), 50 + drains.PATIENCE, False),
        (CLAIMED, 290, True),
        (draining(WELL, DRAINS), 0, False),
        (draining(WELL, BY_ANNA), 3599, True),
        (draining(WELL, BY_ANNA), 3600, False),
    ],
)
def test_a_node_takes_requests_again_if_nobody_repairs_it_in_time(
    known: NodeState, later: float, is_draining: bool
) -> None:
    assert drains.is_draining(known, NOW + later) is is_draining
    assert bool(drains.describe(known, NOW + later)) is is_draining


def test_a_node_that_serves_in_vain_does_not_drain_anew_while_nobody_repairs() -> None:
    """Else a recovery that never comes would keep it from serving for good."""
    given_up = draining(IMPAIRED, Drain(NOW - 9999, NOW - 9939))
    assert updated(given_up) == (Drain(NOW - 9999, NOW - 9939), [])
    assert decided(given_up).action is Action.RESTART_OLLAMA


@pytest.mark.parametrize(
    ("drain", "later", "words"),
    [
        (DRAINS, 0, "it is repaired at 08:00:50 UTC"),
        (DRAINS, 49, "it is repaired at 08:00:50 UTC"),
        (DRAINS, 50, "it is repaired now"),
        (BY_ANNA, 0, "anna said so until 09:00 UTC: a new card"),
        (replace(BY_ANNA, reason=""), 0, "anna said so until 09:00 UTC"),
    ],
)
def test_a_drain_says_until_when_it_lasts_and_why(drain: Drain, later: float, words: str) -> None:
    assert drains.describe(draining(IMPAIRED, drain), NOW + later) == words


def test_a_node_that_is_repaired_for_long_drains_as_long_as_that_lasts() -> None:
    long = claims.claimed(draining(IMPAIRED, OVER), Action.RESTART_OLLAMA, NOW - 1, 4000, 1)
    assert drains.is_draining(long, NOW + drains.PATIENCE + 60)
    assert not drains.is_draining(long, NOW + 4000)


def test_what_a_drain_waits_for_keeps_its_cause_and_what_begins_and_ends_is_in_the_log() -> None:
    assert decided(IMPAIRED).cause is Cause.CPU_FALLBACK
    mesh, state = Mesh((A, B)), State(nodes={"a": IMPAIRED, "b": draining(WELL, replace(BY_ANNA, until=NOW))})
    events = drains.update(state, mesh, plan.plan(mesh, State(nodes={"a": IMPAIRED, "b": WELL}), NOW), NOW)
    assert events == (
        event("drain_ended", Severity.NOTICE, node="b", author="anna"),
        event("drain_begun", Severity.NOTICE, node="a", seconds=60.0),
    )


@pytest.mark.parametrize(
    ("known", "may"),
    [
        (WELL, False),
        (IMPAIRED, True),
        (replace(IMPAIRED, failures=1), False),
        (refusing(), False),
        (draining(WELL, BY_ANNA), True),
    ],
)
def test_only_a_drain_or_an_impairment_can_change_what_drains(known: NodeState, may: bool) -> None:
    assert bool(drains.may_change(State(nodes={"a": known}))) is may


def test_a_repair_of_a_node_does_not_wait_while_a_failure_is_still_counted_though_it_serves_again() -> None:
    known = replace(IMPAIRED, failures=1)
    mesh, state = Mesh((A, B)), State(nodes={"a": known, "b": WELL})
    repair = Decision("a", Action.RESTART_OLLAMA, "it is due", Cause.CPU_FALLBACK)
    assert drains.first(mesh, state, A, repair, NOW) == repair
