"""What a monitor noted while it was apart from the others, and what becomes of it."""

import pytest
from msgspec.structs import fields, replace

from gpu_mesh.cluster import uniting
from gpu_mesh.domain.alert import Acknowledgement, Alert, AlertKind, Delivery, Level, Progress, Silence
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.recovery import Attempt, Drain, Outcome
from gpu_mesh.domain.state import ClockReading, NodeRecovery, NodeState, Shared, State, Tick

NOW = 1_000_000.0
FAILING = NodeState(status=Status.OFFLINE, failures=5, incident_since=NOW - 300)


def alert(number: int, text: str, **further: object) -> Alert:
    return Alert(number, NOW - number, Level.ERROR, AlertKind.STATUS, text, "iceland", **further)  # type: ignore[arg-type]


def attempt(at: float) -> Attempt:
    return Attempt(at, Action.RESTART_OLLAMA, Outcome.NOT_RECOVERED)


def unite(base: State, apart: State) -> State:
    uniting.unite(base, apart, "attic", NOW)
    return base


@pytest.mark.parametrize(
    ("shared", "own", "older"),
    [
        (Shared(writes=7, cluster="a"), Shared(writes=9, cluster="a"), True),
        (Shared(writes=9, cluster="a"), Shared(writes=9, cluster="a"), False),
        (Shared(writes=7, cluster="b"), Shared(writes=9, cluster="a"), False),  # it was begun anew
        (Shared(writes=7), Shared(writes=9), False),
        (None, Shared(writes=9, cluster="a"), False),
        (Shared(writes=7, cluster="a"), None, False),
    ],
)
def test_a_shared_state_is_older_where_a_backup_of_the_same_cluster_was_put_back(
    shared: Shared | None, own: Shared | None, older: bool
) -> None:
    assert uniting.is_older(State(shared=shared), State(shared=own)) is older


def test_an_alert_that_somebody_still_waits_for_is_queued_anew_and_no_other_one() -> None:
    known = alert(4, "known to both")
    base = State(alerts=[known], next_alert=9)
    apart = State(
        alerts=[
            replace(known, id=7),
            alert(5, "new"),
            alert(6, "sent", deliveries={"a": Delivery(Progress.DELIVERED)}, done=True),
            alert(8, "partly sent", deliveries={"a": Delivery(Progress.DELIVERED), "b": Delivery()}),
            alert(3, "tried in vain", deliveries={"a": Delivery(attempts=2)}),
        ]
    )
    after = unite(base, apart)
    assert [(each.id, each.text) for each in after.alerts] == [
        (4, "known to both"),
        (9, "new"),
        (10, "partly sent"),
        (11, "tried in vain"),
    ]
    assert after.next_alert == 12
    assert after.alerts[2].deliveries["a"].progress is Progress.DELIVERED, "and it is not sent there again"


def test_what_people_asked_for_apart_is_kept_under_a_number_of_its_own() -> None:
    shared = Silence(1, NOW - 900, NOW + 900, "a new card", "anna")
    base = State(silences=(shared,), next_silence=2)
    mine = Silence(2, NOW - 50, NOW + 900, "a new fan", "ben")
    after = unite(base, State(silences=(shared, mine), next_silence=3))
    assert after.silences == (shared, replace(mine, id=2))
    assert after.next_silence == 3


def test_attempts_of_both_count_together_while_the_incident_lasts() -> None:
    both, theirs, mine = attempt(NOW - 90), attempt(NOW - 60), attempt(NOW - 30)
    base = replace(FAILING, recovery=NodeRecovery(attempts=(both, theirs)))
    noted = replace(FAILING, recovery=NodeRecovery(attempts=(both, mine)))
    after = unite(State(nodes={"iceland": base}), State(nodes={"iceland": noted}))
    assert after.nodes["iceland"].recovery.attempts == (both, theirs, mine)
    healthy = unite(State(nodes={"iceland": NodeState()}), State(nodes={"iceland": noted}))
    assert healthy.nodes["iceland"].recovery.attempts == ()


def test_how_the_nodes_are_is_what_the_shared_state_says() -> None:
    after = unite(
        State(nodes={"iceland": FAILING}), State(nodes={"iceland": NodeState(status=Status.HEALTHY)})
    )
    assert after.nodes["iceland"].status is Status.OFFLINE


def test_an_acknowledgement_and_a_drain_that_were_asked_for_apart_count() -> None:
    known = Acknowledgement(NOW, "anna", Level.ERROR)
    drain = Drain(NOW, NOW + 900, "ben")
    noted = replace(
        FAILING,
        alerting=replace(FAILING.alerting, acknowledged=known),
        recovery=NodeRecovery(drain=drain),
    )
    after = unite(State(nodes={"iceland": FAILING}), State(nodes={"iceland": noted})).nodes["iceland"]
    assert (after.alerting.acknowledged, after.recovery.drain) == (known, drain)


def test_that_one_monitor_watched_alone_is_told_once_it_is_over() -> None:
    apart = State(shared=Shared(apart_since=NOW - 600, away_notified=True))
    (said,) = unite(State(), apart).alerts
    assert "attic had watched alone for 10 min" in said.text
    assert said.ends == (Level.WARNING,)
    assert unite(State(), State(shared=Shared(apart_since=NOW - 600))).alerts == []


def test_what_is_about_the_monitor_itself_stays_its_own() -> None:
    clock = ClockReading("their boot", 1.0)
    theirs = State(
        tick=Tick(at=NOW, clock=clock), offline_since=NOW, urls=3, shared=Shared("w", leader="desk")
    )
    mine = uniting.with_own(theirs, State(urls=1, unprobed=2), "attic")
    assert (mine.urls, mine.unprobed, mine.offline_since) == (1, 2, 0.0)
    assert mine.tick == Tick(at=NOW), "how the clocks of another machine stood says nothing here"
    assert set(uniting.OWN) <= {each.name for each in fields(State)}
    again = State(tick=Tick(at=NOW, clock=clock), shared=Shared("w", leader="attic"))
    assert uniting.with_own(again, State(), "attic").tick.clock == clock
