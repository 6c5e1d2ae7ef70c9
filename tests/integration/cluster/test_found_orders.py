"""Orders of events between several monitors that were found to lose or double something, each as a story."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from factories import fails
from gpu_mesh.alerting import alerts
from gpu_mesh.cluster.keys import Keys
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.recovery import Drain
from gpu_mesh.domain.state import State
from gpu_mesh.recovery import lifecycle, repair
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import Job
from gpu_mesh.storage.shared_state import SharedStateFile
from gpu_mesh.storage.state_file import NotLeaderError, StateFile
from gpu_mesh.system.etcd import Put
from gpu_mesh.system.log import Log
from simulated_cluster import SimulatedCluster, SimulatedMonitor

CHAT, PAGER = Target("chat"), Target("pager")
KEYS = Keys("mesh")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimulatedCluster]:
    """Three monitors, of which attic leads."""
    made = SimulatedCluster(tmp_path)
    with made.running():
        made.goes_on(60)
        assert made.monitors["attic"].role is Role.LEADER
        yield made


def shared(monitor: SimulatedMonitor, writer: Writer = Writer.WATCH) -> SharedStateFile:
    return SharedStateFile(monitor.paths, monitor.mesh, Log(monitor.paths.log_file), writer=writer)


@contextlib.contextmanager
def alone(cluster: SimulatedCluster, monitor: SimulatedMonitor) -> Iterator[State]:
    """Change a monitor's copy as it does without asking etcd, when a unit of its own has failed."""
    with StateFile(monitor.paths.state, Log(monitor.paths.log_file)).update(cluster.now) as state:
        yield state


@contextlib.contextmanager
def asked(cluster: SimulatedCluster, name: str) -> Iterator[State]:
    """Change the state for a person at that monitor."""
    monitor = cluster.acting = cluster.monitors[name]
    with shared(monitor, Writer.PERSON).update(cluster.now) as state:
        yield state


def tell(cluster: SimulatedCluster, state: State, text: str) -> None:
    alerts.raise_monitor_alert(state, cluster.now, text, "", Level.WARNING)


def drain(cluster: SimulatedCluster, state: State, *, begins: bool) -> None:
    known = state.node("gpu0")
    wanted = Drain(cluster.now, cluster.now + 9000, "anna") if begins else None
    state.nodes["gpu0"] = replace(known, recovery=replace(known.recovery, drain=wanted))


def send_all(cluster: SimulatedCluster, monitor: SimulatedMonitor) -> list[str]:
    """Send what is due to the chat as delivery/worker.py does; return the texts."""
    file, sent = shared(monitor), []
    cluster.acting = monitor
    while due := outbox.due(file.load().alerts, [CHAT], cluster.now).get(CHAT.id):
        for letter in due:
            with file.update(cluster.now) as state:
                begun = outbox.begin(state, letter, CHAT, cluster.now)
            if begun:
                sent.append(letter.alert.text)
                with file.update(cluster.now) as state:
                    outbox.record_outcome(state, letter, CHAT.id, "", [CHAT], cluster.now, whole=True)
    return sent


def test_two_monitors_whose_units_fail_in_the_same_minute_are_both_told_of(cluster: SimulatedCluster) -> None:
    attic, desk = cluster.monitors["attic"], cluster.monitors["desk"]
    for monitor in (attic, desk):
        with alone(cluster, monitor) as state:
            tell(cluster, state, f"a unit of {monitor.name} has failed")
    cluster.does("desk", "check")
    told = send_all(cluster, attic)
    assert sorted(told) == ["a unit of attic has failed", "a unit of desk has failed"]


def test_an_alert_that_the_pager_has_not_got_yet_waits_for_it_after_the_monitors_are_united(
    cluster: SimulatedCluster,
) -> None:
    attic = cluster.acting = cluster.monitors["attic"]
    attic.line.is_cut = True
    with shared(attic).update(cluster.now) as state:
        tell(cluster, state, "gpu0 is down")
        (letter,) = outbox.due(state.alerts, [CHAT], cluster.now)[CHAT.id]
        outbox.begin(state, letter, CHAT, cluster.now)
        both = [CHAT, PAGER]
        outbox.record_outcome(state, letter, CHAT.id, "", both, cluster.now, whole=True)
    with asked(cluster, "desk"):
        pass
    attic.line.is_cut = False
    cluster.does("attic", "lead")
    cluster.does("attic", "check")
    waiting = outbox.due(attic.state().alerts, [CHAT, PAGER], cluster.now)
    assert [letter.alert.text for letter in waiting.pop(PAGER.id)] == ["gpu0 is down"]
    assert not waiting


@pytest.mark.parametrize("cut", [False, True])
def test_who_stood_still_within_a_write_while_another_one_took_over_sends_nothing(
    cluster: SimulatedCluster, cut: bool
) -> None:
    attic = cluster.acting = cluster.monitors["attic"]

    def stands_still() -> None:
        with shared(attic).update(cluster.now):
            attic.alive = False
            cluster.goes_on(120)
            attic.alive, cluster.acting = True, attic
            attic.line.is_cut = cut

    with pytest.raises(NotLeaderError):
        stands_still()
    assert cluster.monitors["desk"].role is Role.LEADER


def test_a_repair_whose_claim_is_over_is_left(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic = cluster.acting = cluster.monitors["attic"]
    cluster.world.failing.add("gpu0")
    for _ in range(4):
        cluster.passes(30)
        for name in cluster.monitors:
            cluster.does(name, "lead")
        cluster.does("attic", "check")
    cluster.acting = attic
    with shared(attic, Writer.REPAIR).update(cluster.now) as state:
        job = lifecycle.claim(state, attic.mesh, cluster.now, 1)
    assert isinstance(job, Job)
    attic.alive = False
    cluster.goes_on(900)
    attic.alive, cluster.acting = True, attic
    assert cluster.monitors["desk"].role is Role.LEADER
    acted = []
    monkeypatch.setattr(repair, "_act", lambda *_: acted.append("restarted"))
    context = Context(
        attic.paths,
        attic.mesh,
        shared(attic, Writer.PERSON),
        Log(attic.paths.log_file),
        claims=shared(attic, Writer.REPAIR),
        observe=lambda node, at, **_: fails(node.key, at),
        clock=lambda: cluster.now,
    )
    assert not repair.repair(context, job)
    assert acted == []


def seed(cluster: SimulatedCluster, name: str) -> None:
    for monitor in cluster.monitors.values():
        monitor.mesh = replace(monitor.mesh, cluster=replace(monitor.mesh.cluster, seed=name))


def test_the_first_state_is_the_seeds_whatever_a_person_asks_another_monitor_for(tmp_path: Path) -> None:
    cluster = SimulatedCluster(tmp_path)
    seed(cluster, "attic")
    with cluster.running():
        attic = cluster.monitors["attic"]
        with alone(cluster, attic) as state:
            tell(cluster, state, "this one waits")
            state.nodes["gpu0"] = state.node("gpu0")
        with asked(cluster, "desk") as state:
            drain(cluster, state, begins=True)
        for name in ("desk", "attic", "porch"):
            cluster.does(name, "lead")
        for name in ("desk", "attic", "porch", "desk"):
            cluster.does(name, "check")
        assert [each.text for each in attic.state().alerts if not each.done] == ["this one waits"]
        cluster.goes_on(30)
        assert attic.state().node("gpu0").recovery.drain is not None, "and what was asked for counts, too"


@pytest.mark.parametrize("is_seed", [True, False])
def test_a_monitor_that_was_alone_for_a_week_loses_nothing_to_what_etcd_still_has(
    cluster: SimulatedCluster, is_seed: bool
) -> None:
    attic = cluster.monitors["attic"]
    cluster.passes(7 * 86400)
    with alone(cluster, attic) as state:
        state.shared = None  # as a check without others writes it
        tell(cluster, state, "this one waits")
        state.silences = (Silence(1, cluster.now, cluster.now + 9000, "a new card", "anna"),)
        state.nodes["gpu1"] = replace(state.node("gpu1"), failures=9)
    if is_seed:
        seed(cluster, "attic")
    for what in ("lead", "check"):
        cluster.does("attic", what)
    known = attic.state()
    assert [each.text for each in known.alerts if not each.done][:1] == ["this one waits"]
    assert [each.reason for each in known.silences] == ["a new card"]


def test_a_person_at_a_monitor_whose_clock_is_behind_moves_no_time_of_the_mesh(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.world.failing.add("gpu0")
    cluster.goes_on(60)
    before = cluster.monitors["attic"].state().node("gpu0")
    desk = cluster.acting = cluster.monitors["desk"]
    with shared(desk, Writer.PERSON).update(cluster.now - 7200):
        monkeypatch.setattr("gpu_mesh.storage.state_file.time.time", lambda: cluster.now - 7200)
    monkeypatch.undo()
    cluster.does("attic", "lead")
    cluster.does("attic", "check")
    after = cluster.monitors["attic"].state().node("gpu0")
    assert after.incident_since == before.incident_since > 0


def test_what_a_person_has_ended_while_etcd_was_away_stays_ended(cluster: SimulatedCluster) -> None:
    with asked(cluster, "attic") as state:
        drain(cluster, state, begins=True)
        state.silences = (Silence(1, cluster.now, cluster.now + 9000, "a new card", "anna"),)
    cluster.goes_on(60)
    for monitor in cluster.monitors.values():
        monitor.line.is_cut = True
    cluster.goes_on(300)
    assert cluster.monitors["porch"].role is Role.ALONE
    with asked(cluster, "attic") as state:
        drain(cluster, state, begins=False)
        state.silences = ()
    with asked(cluster, "porch") as state:
        state.silences = (
            *state.silences,
            Silence(2, cluster.now, cluster.now + 9000, "a new fan", "ben"),
        )
    for monitor in cluster.monitors.values():
        monitor.line.is_cut = False
    cluster.passes(10)
    for name in ("porch", "desk", "attic"):
        cluster.does(name, "lead")
        cluster.does(name, "check")
    cluster.goes_on(120)
    known = cluster.monitors["attic"].state()
    assert known.node("gpu0").recovery.drain is None
    assert [each.reason for each in known.silences] == ["a new fan"]


def test_a_record_of_a_monitor_that_cannot_be_read_is_passed_over(cluster: SimulatedCluster) -> None:
    cluster.store.transact([Put(KEYS.member("x"), b"garbage")])
    cluster.goes_on(300)
    assert [monitor.role for monitor in cluster.monitors.values()] == [
        Role.LEADER,
        Role.STANDBY,
        Role.STANDBY,
    ]
