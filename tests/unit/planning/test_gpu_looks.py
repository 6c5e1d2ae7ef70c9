"""At which hosts' GPUs the monitor looks, and when."""

from msgspec.structs import replace

from factories import GPU1, NOW, plain
from gpu_mesh.domain.mesh import GpuExpectation, GpuRule, Mesh, RecoveryKind
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import gpu_looks


def looked(*nodes, **ages: float) -> list[str]:
    """Return the nodes whose hosts are looked at now; ``ages``: how long ago somebody last looked."""
    known = {key: NodeState(gpu_looked_at=NOW - age) for key, age in ages.items()}
    return [node.key for node in gpu_looks.due(Mesh(nodes), State(nodes=known), NOW)]


def test_a_host_is_looked_at_when_its_interval_is_over_and_the_one_that_waited_longest_first() -> None:
    nodes = [plain(key) for key in ("a", "b", "c")]
    assert looked(*nodes, a=700, b=599, c=800) == ["c", "a"]
    assert looked(replace(nodes[1], gpu_interval=60.0), b=61) == ["b"]


def test_a_time_that_lies_ahead_was_noted_before_the_clock_was_set_back() -> None:
    assert looked(plain("a"), a=-5000) == ["a"]


def test_no_look_where_none_is_wanted_or_possible() -> None:
    for node in (
        plain("a", gpu_interval=0.0),
        plain("a", enabled=False),
        plain("a", recovery=RecoveryKind.NONE),
        plain("a", expects_gpu=GpuExpectation(GpuRule.NONE)),
    ):
        assert looked(node) == []


def test_two_nodes_of_one_host_are_one_look() -> None:
    twins = [plain(key, ssh_host="192.0.2.7") for key in ("a", "b")]
    assert looked(*twins) == ["a"]


def test_two_hosts_behind_one_address_are_two_looks() -> None:
    pods = [plain(key, ssh_host="192.0.2.7", ssh_port=port) for key, port in (("a", 2201), ("b", 2202))]
    assert looked(*pods) == ["a", "b"]


def test_no_look_at_a_host_that_sleeps() -> None:
    asleep = State(nodes={"a": NodeState(gpu_looked_at=NOW - 700, asleep_since=NOW - 60)})
    assert gpu_looks.due(Mesh((plain("a"),)), asleep, NOW) == ()


def test_no_look_while_the_monitor_is_offline() -> None:
    state = State(offline_since=NOW - 5)
    assert gpu_looks.due(Mesh((GPU1,)), state, NOW) == ()


def test_a_run_takes_its_share_so_that_the_looks_are_spread_over_the_interval() -> None:
    nodes = [plain(f"n{number}") for number in range(1000)]
    assert len(looked(*nodes)) == 200
    assert len(looked(*nodes[:12])) == gpu_looks.LEAST
