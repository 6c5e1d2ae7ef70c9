"""Which nodes are repaired by one run of Ansible."""

import pytest
from msgspec.structs import replace

from factories import NOW, refusing
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, Tunnel
from gpu_mesh.domain.recovery import Claim, Decision
from gpu_mesh.domain.state import State
from gpu_mesh.recovery import lifecycle, sharing
from gpu_mesh.recovery.values import Job

RESTART, REBUILD, OWN = Action.RESTART_OLLAMA, Action.REBUILD_TUNNEL, Action.OWN_PLAYBOOK


def node(key: str, **fields: object) -> Node:
    return Node(key, key, f"http://{key}:11434", **fields)  # type: ignore[arg-type]


def decision(key: str, action: Action = RESTART, playbook: str = "") -> Decision:
    return Decision(key, action, "it fails", playbook=playbook)


def job(what: Node, action: Action = RESTART, playbook: str = "") -> Job:
    return Job(what, Claim(NOW, NOW + 300, 1, action, playbook), refusing(), None)


A, B, C = node("a"), node("b"), node("c")
HERE, ALSO_HERE = node("here", on_monitor=True), node("also", on_monitor=True)
BEHIND = node("behind", tunnel=Tunnel("pod", 8101))
SISTER = replace(node("sister"), url=A.url)
PATTERN = node("g:x")

CASES = {
    "what needs the same": (job(A), [decision("b"), decision("c")], ("b", "c")),
    "in the order of the plan": (job(A), [decision("c"), decision("b")], ("c", "b")),
    "nobody else is due": (job(A), [decision("b", Action.NONE)], ()),
    "another action": (job(A), [decision("behind", REBUILD), decision("c")], ("c",)),
    "an operator's own playbook": (job(A), [decision("b", OWN, "/own.yml"), decision("c")], ("c",)),
    "the claimed one has its own playbook": (job(A, OWN, "/own.yml"), [decision("b", OWN, "/own.yml")], ()),
    "a reboot": (job(A, Action.REBOOT_HOST), [decision("b", Action.REBOOT_HOST)], ()),
    "on the monitor": (job(A), [decision("here"), decision("b")], ("b",)),
    "the claimed one is on the monitor, which is one machine": (job(HERE), [decision("also")], ()),
    "a tunnel is rebuilt on the monitor": (job(BEHIND, REBUILD), [decision("here", REBUILD)], ("here",)),
    "the same machine": (job(A), [decision("sister"), decision("b")], ("b",)),
    "two on another machine": (job(B), [decision("a"), decision("sister"), decision("c")], ("a", "c")),
    "a name that is a pattern": (job(A), [decision("g:x"), decision("b")], ("b",)),
    "the claimed one's name is a pattern": (job(PATTERN), [decision("b")], ()),
    "one that left the inventory": (job(A), [decision("gone"), decision("b")], ("b",)),
}


@pytest.mark.parametrize("case", CASES)
def test_nodes_that_need_the_same_share_a_run(case: str) -> None:
    claimed, decisions, shared = CASES[case]
    mesh = Mesh((A, B, C, HERE, ALSO_HERE, BEHIND, SISTER, PATTERN))
    assert sharing.others(mesh, tuple(decisions), claimed, ()) == shared
    assert sharing.others(mesh, tuple(decisions), claimed, shared) == (), "what another run expects"


def test_a_run_has_an_end() -> None:
    nodes = tuple(node(f"n{number}") for number in range(300))
    decisions = tuple(decision(each.key) for each in nodes[1:])
    shared = sharing.others(Mesh(nodes), decisions, job(nodes[0]), ())
    assert shared == tuple(each.key for each in nodes[1 : sharing.MOST])


@pytest.mark.parametrize(
    ("claimed", "action", "here", "fits"),
    [
        (job(A), RESTART, False, True),
        (job(A), RESTART, True, False),
        (job(HERE), RESTART, True, True),
        (job(BEHIND, REBUILD), REBUILD, True, True),
        (job(BEHIND, REBUILD), RESTART, False, False),
        (job(A, OWN, "/own.yml"), OWN, False, False),
    ],
)
def test_a_claimed_node_joins_only_the_run_that_does_what_it_needs(
    claimed: Job, action: Action, here: bool, fits: bool
) -> None:
    assert sharing.fits(claimed, action, here=here) is fits


def test_a_node_whose_turn_comes_in_a_run_is_not_claimed_before() -> None:
    mesh = Mesh((A, B))
    state = State(nodes={"a": refusing(), "b": refusing()})
    claimed = lifecycle.claim(state, mesh, NOW, 1, expected={"a"})
    assert isinstance(claimed, Job)
    assert claimed.node is B
    assert state.nodes["a"].recovery.claim is None
    left = lifecycle.claim(state, mesh, NOW, 1, expected={"a"})
    assert isinstance(left, tuple)
    assert [each.node for each in left if lifecycle.is_due(each)] == ["a"]
