"""Orders of events between several monitors that were found to lose or double something, each as a story."""

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from gpu_mesh.domain.state import SCHEMA, State
from gpu_mesh.recovery import lifecycle, repair
from gpu_mesh.recovery.context import Context
from gpu_mesh.recovery.values import Job
from gpu_mesh.silences import silences
from gpu_mesh.storage.shared_state import SharedStateFile
from gpu_mesh.storage.state_file import NotLeaderError, StateFile
from gpu_mesh.system.etcd import EtcdError, Put
from gpu_mesh.system.log import Log
from simulated_cluster import Line, SimulatedCluster, SimulatedMonitor

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
    cluster.acting = monitor
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


def silence(cluster: SimulatedCluster, state: State, reason: str) -> Silence:
    return silences.add(state, Silence(0, cluster.now, cluster.now + 9000, reason, "anna"), cluster.now)


def in_force(cluster: SimulatedCluster, name: str) -> list[str]:
    """Return why alerts are muted now."""
    known = cluster.monitors[name].state().silences
    return sorted(each.reason for each in known if cluster.now < each.until)


def all_lead(cluster: SimulatedCluster) -> None:
    cluster.passes(10)
    for name in cluster.monitors:
        cluster.does(name, "lead")


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


@pytest.mark.parametrize("cut", [("attic", "desk", "porch"), ("porch",)])
def test_what_a_person_has_ended_while_etcd_was_away_stays_ended(
    cluster: SimulatedCluster, cut: tuple[str, ...]
) -> None:
    with asked(cluster, "attic") as state:
        drain(cluster, state, begins=True)
        number = silence(cluster, state, "a new card").id
    cluster.goes_on(60)
    for name in cut:
        cluster.monitors[name].line.is_cut = True
    cluster.goes_on(300)
    assert cluster.monitors["porch"].role is Role.ALONE
    with asked(cluster, cut[0]) as state:
        drain(cluster, state, begins=False)
        silences.end(state, number, cluster.now)
    with asked(cluster, "porch") as state:
        silence(cluster, state, "a new fan")
    for monitor in cluster.monitors.values():
        monitor.line.is_cut = False
    cluster.passes(10)
    for name in ("porch", "desk", "attic"):
        cluster.does(name, "lead")
        cluster.does(name, "check")
    cluster.goes_on(120)
    assert cluster.monitors["attic"].state().node("gpu0").recovery.drain is None
    assert in_force(cluster, "attic") == ["a new fan"]


@pytest.mark.parametrize("ahead", [60, -3600])
def test_what_is_asked_for_at_a_leader_stays_when_a_monitor_with_another_clock_has_noted_something(
    cluster: SimulatedCluster, ahead: float
) -> None:
    porch = cluster.monitors["porch"]
    cluster.ahead["porch"] = ahead
    with asked(cluster, "attic"):
        pass
    cluster.does("porch", "check")
    with alone(cluster, porch) as state:
        tell(cluster, state, "a unit of porch has failed")
    cluster.passes(5)
    with asked(cluster, "attic") as state:
        silence(cluster, state, "a new card")
        drain(cluster, state, begins=True)
    for name, what in (("porch", "check"), ("attic", "lead"), ("attic", "check")):
        cluster.does(name, what)
    assert in_force(cluster, "attic") == ["a new card"]
    assert cluster.monitors["attic"].state().node("gpu0").recovery.drain is not None
    assert "a unit of porch has failed" in [each.text for each in cluster.monitors["attic"].state().alerts]


def test_what_was_asked_for_apart_outlives_a_write_that_fails(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    porch = cluster.monitors["porch"]
    porch.line.is_cut = True
    cluster.goes_on(60)
    with asked(cluster, "porch") as state:
        silence(cluster, state, "a new fan")
        drain(cluster, state, begins=True)
    cluster.goes_on(120)
    porch.line.is_cut = False
    with monkeypatch.context() as within:
        within.setattr(SharedStateFile, "_write", refused)
        for what in ("lead", "check"):
            cluster.does("porch", what)
    cluster.goes_on(120)
    assert in_force(cluster, "attic") == ["a new fan"]
    assert cluster.monitors["attic"].state().node("gpu0").recovery.drain is not None


def refused(*_: object) -> None:
    raise EtcdError("etcdserver: request is too large")


def test_while_etcd_refuses_the_leaders_state_a_command_elsewhere_stops_no_watch(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic, write = cluster.monitors["attic"], SharedStateFile._write
    with asked(cluster, "attic") as state:
        tell(cluster, state, "this one waits")

    def of_attic_refused(file: SharedStateFile, *further: Any) -> None:
        (refused if file._mesh.monitor == "attic" else write)(file, *further)

    monkeypatch.setattr(SharedStateFile, "_write", of_attic_refused)
    all_lead(cluster)
    cluster.does("attic", "check")
    with asked(cluster, "desk") as state:
        silence(cluster, state, "a new card")
    cluster.world.failing.add("gpu0")
    sent = []
    for _ in range(6):
        for _ in range(3):
            all_lead(cluster)
        cluster.does("attic", "check")
        sent += send_all(cluster, attic)
    assert attic.role is Role.LEADER
    assert attic.state().node("gpu0").failures >= 5
    assert sent.count("this one waits") == 1
    cluster.does("attic", "recover")
    assert cluster.world.repairs["gpu0"][0] == "attic", "its lease is renewed, so no other one repairs"


def test_a_seed_that_stands_by_leaves_the_leaders_state(cluster: SimulatedCluster) -> None:
    seed(cluster, "porch")
    with alone(cluster, cluster.monitors["porch"]) as state:
        state.shared = None  # as a check with an inventory without endpoints writes it
    all_lead(cluster)
    cluster.does("attic", "check")
    with asked(cluster, "attic") as state:
        silence(cluster, state, "a new card")
    for name in ("porch", "attic"):
        cluster.does(name, "check")
    assert in_force(cluster, "attic") == ["a new card"]


@pytest.mark.parametrize("damaged", [b"\xff", zlib.compress(b'{"schema":0}')])
def test_who_stands_by_puts_nothing_in_the_place_of_a_state_that_it_cannot_read(
    cluster: SimulatedCluster, damaged: bytes
) -> None:
    with asked(cluster, "attic") as state:
        silence(cluster, state, "a new card")
    cluster.store.transact([Put(KEYS.state, damaged), Put(KEYS.write, b"x")])
    with asked(cluster, "desk") as state:
        silence(cluster, state, "a new fan")
    assert cluster.store.value(KEYS.state) == damaged
    for name, what in (("attic", "lead"), ("attic", "check"), ("desk", "check")):
        cluster.does(name, what)
    assert in_force(cluster, "desk") == ["a new card", "a new fan"]


def test_after_a_backup_was_put_back_what_was_noted_since_wins_over_an_older_copy(
    cluster: SimulatedCluster,
) -> None:
    old = [Put(key, cluster.store.value(key)) for key in (KEYS.state, KEYS.write)]
    cluster.goes_on(900)
    attic, desk, porch = (cluster.monitors[name] for name in ("attic", "desk", "porch"))
    cluster.store.transact(old)
    attic.alive = desk.alive = False
    for file in porch.paths.state.glob("state*"):  # a new machine took its place
        file.unlink()
    cluster.goes_on(120)
    desk.alive = True
    with asked(cluster, "porch") as state:
        silence(cluster, state, "a new card")
    cluster.goes_on(60)
    assert in_force(cluster, "desk") == ["a new card"]


def test_a_failed_unit_that_is_noted_while_a_copy_is_made_is_told_of(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, transact, noted = cluster.monitors["desk"], Line.transact, []
    cluster.does("attic", "check")

    def transact_and_fail(line: Line, *further: Any) -> Any:
        if line is desk.line and not noted:
            noted.append(True)
            with alone(cluster, desk) as state:
                tell(cluster, state, "a unit of desk has failed")
        return transact(line, *further)

    monkeypatch.setattr(Line, "transact", transact_and_fail)
    for name in ("desk", "desk", "attic"):
        cluster.does(name, "check")
    assert "a unit of desk has failed" in [each.text for each in cluster.monitors["attic"].state().alerts]


def test_a_delivery_before_the_first_check_of_a_new_leader_hides_no_takeover(
    cluster: SimulatedCluster,
) -> None:
    attic, desk = cluster.monitors["attic"], cluster.monitors["desk"]
    attic.alive = False
    cluster.passes(40)
    cluster.does("desk", "lead")
    cluster.acting = desk
    with shared(desk).update(cluster.now):
        pass
    cluster.does("desk", "check")
    told = [each.text for each in desk.state().alerts]
    assert "The monitor attic is gone: desk leads the mesh now" in told


def test_of_trouble_that_one_monitor_alone_has_told_the_end_is_told_too(cluster: SimulatedCluster) -> None:
    attic, desk, porch = (cluster.monitors[name] for name in ("attic", "desk", "porch"))
    attic.alive = desk.alive = False
    porch.line.is_cut = True
    cluster.goes_on(300)
    assert porch.role is Role.ALONE
    cluster.world.failing.add("gpu0")
    cluster.goes_on(60)
    assert any("gpu0" in text or "degraded" in text for _, text in cluster.world.told)
    before = len(cluster.world.told)
    cluster.world.failing.clear()
    attic.alive = desk.alive = True
    porch.line.is_cut = False
    for name in ("attic", "porch"):
        cluster.does(name, "lead")
        cluster.does(name, "check")
    cluster.goes_on(120)
    ends = [text for _, text in cluster.world.told[before:] if "recovered" in text]
    assert len(ends) == 1


def test_a_failed_unit_of_a_new_monitor_is_told_of(tmp_path: Path) -> None:
    cluster = SimulatedCluster(tmp_path)
    with cluster.running():
        desk = cluster.monitors["desk"]
        desk.alive = False
        cluster.goes_on(60)
        with alone(cluster, desk) as state:
            tell(cluster, state, "a unit of desk has failed")
        desk.alive = True
        cluster.goes_on(60)
        told = [each.text for each in cluster.monitors["attic"].state().alerts]
        assert "a unit of desk has failed" in told


def test_a_seed_that_another_one_would_rather_lead_leads_all_the_same(tmp_path: Path) -> None:
    cluster = SimulatedCluster(tmp_path)
    seed(cluster, "desk")
    with cluster.running():
        with alone(cluster, cluster.monitors["attic"]) as state:
            state.nodes["gpu0"] = state.node("gpu0")
        cluster.goes_on(60)
        assert cluster.monitors["desk"].role is Role.LEADER


def test_a_newer_monitor_that_led_and_wrote_nothing_keeps_no_older_one_from_leading(
    cluster: SimulatedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    attic, desk, porch = (cluster.monitors[name] for name in ("attic", "desk", "porch"))
    attic.alive = desk.alive = False
    with monkeypatch.context() as within:
        within.setattr("gpu_mesh.monitor.lead.SCHEMA", SCHEMA + 1)
        for _ in range(4):
            all_lead(cluster)
        assert porch.role is Role.LEADER
    porch.alive, attic.alive, desk.alive = False, True, True
    cluster.goes_on(90)
    assert Role.LEADER in (attic.role, desk.role)


def test_while_a_new_etcd_never_answers_the_monitors_begin_to_watch_one_after_the_other(
    tmp_path: Path,
) -> None:
    cluster = SimulatedCluster(tmp_path)
    with cluster.running():
        for monitor in cluster.monitors.values():
            monitor.line.is_cut = True
        watching = []
        for _ in range(20):
            all_lead(cluster)
            watching.append(sum(monitor.role.watches for monitor in cluster.monitors.values()))
        assert sorted(set(watching)) == [0, 1, 2, 3]
        assert watching == sorted(watching)


def test_a_record_of_a_monitor_that_cannot_be_read_is_passed_over(cluster: SimulatedCluster) -> None:
    cluster.store.transact([Put(KEYS.member("x"), b"garbage")])
    cluster.goes_on(300)
    assert [monitor.role for monitor in cluster.monitors.values()] == [
        Role.LEADER,
        Role.STANDBY,
        Role.STANDBY,
    ]
