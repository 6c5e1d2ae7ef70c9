"""Whatever happens to three monitors and their etcd, no alert is lost, and no repair is begun twice."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from gpu_mesh.domain.cluster import Role
from simulated_cluster import SimulatedCluster

IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
NAMES = ("attic", "desk", "porch")
NODES = ("gpu0", "gpu1", "gpu2", "gpu3")
EVENTS = st.one_of(
    st.tuples(st.just("dies"), st.sampled_from(NAMES)),
    st.tuples(st.just("lives"), st.sampled_from(NAMES)),
    st.tuples(st.just("is cut off"), st.sampled_from(NAMES)),
    st.tuples(st.just("is back"), st.sampled_from(NAMES)),
    st.tuples(st.just("loses an answer"), st.sampled_from(NAMES)),
    st.tuples(st.just("stands still"), st.sampled_from(NAMES)),
    st.tuples(st.just("fails"), st.sampled_from(NODES)),
    st.tuples(st.just("is well"), st.sampled_from(NODES)),
    st.tuples(st.just("lead"), st.sampled_from(NAMES)),
    st.tuples(st.just("check"), st.sampled_from(NAMES)),
    st.tuples(st.just("deliver"), st.sampled_from(NAMES)),
    st.tuples(st.just("recover"), st.sampled_from(NAMES)),
    st.tuples(st.just("passes"), st.sampled_from((10, 20, 35, 60, 120))),
    st.tuples(st.just("goes on"), st.sampled_from((30, 60, 120))),
)


def happens(cluster: SimulatedCluster, what: str, who: "str | int") -> None:
    if isinstance(who, int):
        return cluster.goes_on(who) if what == "goes on" else cluster.passes(who)
    if what in ("fails", "is well"):
        (cluster.world.failing.add if what == "fails" else cluster.world.failing.discard)(who)
    elif what in ("dies", "lives"):
        cluster.monitors[who].alive = what == "lives"
    elif what in ("is cut off", "is back"):
        cluster.monitors[who].line.is_cut = what == "is cut off"
    elif what == "loses an answer":
        cluster.monitors[who].line.loses_answer = True
    elif what == "stands still":
        cluster.monitors[who].stops_for = 100.0
    else:
        cluster.does(who, what)
    return None


def all_is_well_again(cluster: SimulatedCluster) -> None:
    for monitor in cluster.monitors.values():
        monitor.alive, monitor.line.is_cut, monitor.line.loses_answer = True, False, False
        monitor.stops_for = 0.0
    cluster.world.failing.clear()
    cluster.goes_on(600)


def stays_true(events: list[tuple[str, "str | int"]]) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        cluster = SimulatedCluster(Path(folder))
        with cluster.running():
            cluster.goes_on(60)
            for what, who in events:
                happens(cluster, what, who)
                leading = [
                    name for name, each in cluster.monitors.items() if each.alive and each.role is Role.LEADER
                ]
                assert len(leading) <= 1, f"{leading} lead at once"
            all_is_well_again(cluster)
            told = {text for _, text in cluster.world.told}
            note(str(cluster.world.told))
            assert set(cluster.world.raised) - told == set(), "an alert was lost"
            assert cluster.world.doubled == [], "a repair was begun twice"
            assert cluster.world.overwritten == [], "who led no more has written over who does"
            roles = sorted(each.role for each in cluster.monitors.values())
            assert roles == ["leader", "standby", "standby"]
            assert not any(each.state().shared.apart_since for each in cluster.monitors.values())
            healthy = {
                node.status for each in cluster.monitors.values() for node in each.state().nodes.values()
            }
            assert healthy == {"healthy"}


NOTED_APART = [  # attic leads; it alone has seen that the node is well again
    ("fails", "gpu0"),
    ("goes on", 60),
    ("is cut off", "attic"),
    ("is well", "gpu0"),
    ("check", "attic"),
    ("dies", "attic"),
    ("goes on", 120),
]
STOPPED_IN_A_CHECK = [
    ("stands still", "attic"),
    ("fails", "gpu0"),
    ("check", "attic"),
    ("is well", "gpu0"),
    ("goes on", 60),
]


@example(NOTED_APART)
@example(STOPPED_IN_A_CHECK)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=25))
def test_in_any_order_of_events_no_alert_is_lost_and_no_repair_is_begun_twice(events) -> None:
    stays_true(events)


@pytest.mark.soak
@pytest.mark.timeout(600)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, min_size=5, max_size=60))
def test_in_any_longer_order_of_events_it_is_so_too(events) -> None:
    stays_true(events)
