"""Which node speaks for which when several of a chain fail, whatever the chain is like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import NOW, Story, behind, levels, plain
from gpu_mesh.alerting import inhibition
from gpu_mesh.domain.alert import Level, Muted
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, Settings, Tunnel
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.domain.state import NodeAlerting, NodeState, State
from gpu_mesh.monitor import tick
from gpu_mesh.planning import plan
from gpu_mesh.reporting.report import report


def chain(**settings: float) -> Story:
    """Return a mesh in which c is reached through b, and b through a."""
    return Story(plain("a"), plain("b", parent="a"), plain("c", parent="b"), recovery_brake=0, **settings)


def test_all_that_is_reached_through_a_node_is_named_when_it_fails_and_when_it_is_back() -> None:
    told = chain().goes(a=".xx.", b=".xx.", c=".xx.")
    assert told[0] == "2 [WARNING] A: degraded: Timeout (10s); so not reached either: b, c"
    assert told[-1].endswith("; so are b, c")
    assert levels(told) == ["2 [WARNING] A", "4 [INFO] A"]


def test_a_grandchild_is_named_by_its_parent_where_that_goes_on_failing_without_its_own() -> None:
    told = chain().goes(a=".x" + "." * 9, b=".x" + "x" * 8 + ".", c=".x" + "x" * 8 + ".")
    assert [line.partition(" after")[0] for line in told] == [
        "2 [WARNING] A: degraded: Timeout (10s); so not reached either: b, c",
        "3 [INFO] A: recovered",
        "7 [CRITICAL] B: offline",
        "11 [INFO] B: recovered",
    ]
    assert told[2].endswith("; so not reached either: c")
    assert told[3].endswith("; so is c")


def test_a_grandchild_that_goes_on_failing_alone_alerts_itself_and_is_then_resolved() -> None:
    story = chain()
    assert levels(story.goes(a=".x....", b=".x....", c=".xxxxx")) == ["2 [WARNING] A", "3 [INFO] A"]
    assert levels(story.goes(a="..", b="..", c="x.")) == ["7 [CRITICAL] C", "8 [INFO] C"]


def test_what_people_were_told_of_a_grandchild_is_taken_back_while_all_above_it_fail() -> None:
    told = chain().goes(a="..xx", b="..xx", c=".xx.")
    assert levels(told) == ["2 [WARNING] C", "3 [WARNING] A", "4 [INFO] C"]


def test_a_parent_that_is_well_or_not_watched_does_not_link_what_is_below_it_to_what_is_above() -> None:
    assert levels(chain().goes(a=".x", b="..", c=".x")) == ["2 [WARNING] A", "2 [WARNING] C"]


def test_what_is_reached_through_a_node_behind_a_tunnel_host_is_named_by_the_one_that_speaks_for_that() -> (
    None
):
    child = plain("n3", parent="n2")
    story = Story(behind("n1", 8081), behind("n2", 8082), child, recovery_brake=0)
    (told,) = story.goes(n1=".x", n2=".x", n3=".x")
    assert told.startswith("2 [WARNING] N1: degraded: Tunnel stuck")
    assert told.endswith("; so not reached either: n2, n3")


@pytest.mark.parametrize("parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_of_nodes_whose_parents_lead_in_a_circle_one_speaks(parents: dict[str, str]) -> None:
    nodes = [plain(key, parent=parents.get(key, "")) for key in "abc" if key in parents]
    story = Story(*nodes, recovery_brake=0)
    told = story.goes(**{node.key: ".xxxxx." for node in nodes})
    assert [line.partition("]")[0] for line in told] == [
        "2 [WARNING", "4 [ERROR", "6 [CRITICAL", "7 [INFO"
    ]  # fmt: skip


KEYS = "abcdef"
meshes = st.lists(
    st.tuples(
        st.sampled_from(["", *KEYS, "gone"]),  # its parent
        st.sampled_from(["", "h1", "h2"]),  # its tunnel's host
        st.booleans(),  # it is enabled
        st.booleans(),  # it fails now
        st.sampled_from([None, Status.HEALTHY, Status.DEGRADED]),  # what is remembered of it
        st.sampled_from(["", *KEYS]),  # which explained its failure
    ),
    max_size=len(KEYS),
)


@given(meshes)
def test_whatever_parents_and_state_say_no_node_is_explained_by_itself_and_each_has_one_that_speaks(
    given_: list[tuple[str, str, bool, bool, Status | None, str]],
) -> None:
    nodes, state = [], State()
    for key, (parent, host, enabled, fails, status, held_by) in zip(KEYS, given_, strict=False):
        tunnel = Tunnel(host, 8000 + ord(key)) if host else None
        nodes.append(plain(key, parent=parent, tunnel=tunnel, enabled=enabled))
        if status:
            state.nodes[key] = NodeState(
                status=status,
                verdict=Verdict.FAILED if fails else Verdict.OK,
                cause=Cause.TUNNEL_STUCK if fails else None,
                failures=int(status is Status.DEGRADED),
                alerting=NodeAlerting(muted_for=Muted.DEPENDENCY if held_by else None, inhibited_by=held_by),
            )
    mesh = Mesh(tuple(nodes), Settings(grace=0, recovery_brake=0))
    explained = inhibition.inhibited_by(state, mesh, (), NOW)
    spoken_for = inhibition.inhibits(explained)
    assert sorted(key for keys in spoken_for.values() for key in keys) == sorted(explained)
    assert spoken_for.keys().isdisjoint(explained)

    faults = {
        node.key: Fault.READ_TIMEOUT if row[3] else None for node, row in zip(nodes, given_, strict=False)
    }
    seen = {key: Observation(key, NOW, Reply(fault, 0 if fault else 200)) for key, fault in faults.items()}
    tick.apply(state, mesh, tick.MeshObservation(seen), NOW, NOW)
    plan.plan(mesh, state, NOW)
    report(mesh, state, NOW)
    failing = {node.key for node in nodes if node.enabled and faults[node.key]}
    held = {key for key in failing if state.nodes[key].alerting.muted_for is Muted.DEPENDENCY}
    told = {alert.node for alert in state.alerts if alert.level is not Level.INFO}
    assert told >= failing - held


def state_of(**known: NodeState) -> State:
    return State(nodes=known)


def down(cause: Cause = Cause.TUNNEL_STUCK, **fields: object) -> NodeState:
    return replace(
        NodeState(status=Status.DEGRADED, verdict=Verdict.FAILED, cause=cause, failures=1), **fields
    )


def up(**fields: object) -> NodeState:
    return replace(NodeState(status=Status.HEALTHY, verdict=Verdict.OK, since=NOW - 3600), **fields)


def explained(state: State, *nodes: Node) -> dict[str, str]:
    return inhibition.inhibited_by(state, Mesh(nodes, Settings()), (), NOW)


P1, P2, P3 = (behind(f"p{number}", 8080 + number) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("first", "inhibited"),
    [
        (down(), {"p2": "p1", "p3": "p1"}),
        (down(Cause.HTTP_ERROR), {"p3": "p2"}),  # it fails by itself, so it does not stand for others
        (up(), {"p3": "p2"}),
        (up(cause=Cause.TUNNEL_STUCK), {"p3": "p2"}),  # as it was refined before; it serves now
    ],
)
def test_behind_a_tunnel_host_the_first_whose_tunnel_fails_stands_for_those_whose_tunnels_fail(
    first: NodeState, inhibited: dict[str, str]
) -> None:
    assert explained(state_of(p1=first, p2=down(), p3=down()), P1, P2, P3) == inhibited


def muted_because_of_b(b: NodeState) -> bool:
    a = down(alerting=NodeAlerting(muted_for=Muted.DEPENDENCY, inhibited_by="b"))
    return explained(state_of(a=a, b=b), plain("a"), plain("b")) == {"a": "b"}


@pytest.mark.parametrize(
    ("b", "follows"),
    [
        (up(since=NOW - 119), True),
        (up(since=NOW - 120), False),
        (up(failures=1), True),  # it answers, and is not healthy yet
        (down(since=NOW - 10), False),  # it fails anew, of which a knows nothing
    ],
)
def test_a_node_has_two_minutes_to_follow_the_one_that_explained_its_failure(
    b: NodeState, follows: bool
) -> None:
    assert muted_because_of_b(b) is follows
