"""What a clock that jumps must not bring about: a second repair, one too early, a duration of nothing."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import EVERY, GPU1, NOW, Story, answers, levels, plain, refusing
from gpu_mesh.alerting import monitor_alerts
from gpu_mesh.diagnosis import evaluate
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Claim
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.planning import claims
from gpu_mesh.recovery import lifecycle
from gpu_mesh.recovery.values import Job
from gpu_mesh.reporting import status
from gpu_mesh.reporting.report import report
from gpu_mesh.storage.rebase import rebase
from gpu_mesh.text import humanize

MESH = Mesh((GPU1,))
DOWN = refusing()
UNDER_WAY = replace(
    DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW, NOW + 300, 4711, Action.RESTART_OLLAMA))
)


@pytest.mark.parametrize(("jump", "live"), [(0, True), (-2, True), (-300, True), (-301, False), (301, False)])
def test_a_claim_outlives_a_clock_that_is_set_back_by_less_than_it_may_last(jump: float, live: bool) -> None:
    assert UNDER_WAY.recovery.claim is not None
    assert claims.is_live(UNDER_WAY.recovery.claim, NOW + jump) is live
    state = State(nodes={"gpu1": UNDER_WAY})
    events = lifecycle.expire_claims(state, MESH, NOW + jump)
    assert (state.nodes["gpu1"].recovery.claim is not None, not events) == (live, live)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_process_does_not_begin_a_second_repair_beside_its_own_however_the_clock_jumps(jump: float) -> None:
    state = State(nodes={"gpu1": UNDER_WAY})
    assert lifecycle.expire_claims(state, MESH, NOW + jump, mine={"gpu1"}) == []
    assert not isinstance(lifecycle.claim(state, MESH, NOW + jump, 4711, mine={"gpu1"}), Job)
    assert state.nodes["gpu1"] == UNDER_WAY
    # Not even where a person has taken the claim away meanwhile.
    assert not isinstance(lifecycle.claim(State(nodes={"gpu1": DOWN}), MESH, NOW, 4711, mine={"gpu1"}), Job)


@pytest.mark.parametrize("jumped", [-86400, 86400])
def test_an_impairment_that_was_seen_once_is_not_repaired_because_the_clock_jumped(jumped: float) -> None:
    state, at = State(), NOW
    for _ in range(2):
        model = LoadedModel("a", size=100, expires_at=at + 300)
        evaluate.apply_observation(state, GPU1, answers("gpu1", at, model, node_clock=at))
        assert not isinstance(lifecycle.claim(state, MESH, at + 1, 1), Job)
        at += jumped


DAY = 86400.0
HOUR = 3600.0


class Jumping(Story):
    """A story in which somebody sets the clock."""

    ahead = 0.0

    @property
    def now(self) -> float:
        return super().now + self.ahead


@pytest.mark.parametrize("back", [600.0, 3 * HOUR, DAY, 30 * DAY])
def test_a_clock_that_is_set_back_neither_brings_a_reminder_at_once_nor_puts_one_off(back: float) -> None:
    story = Jumping(plain("a"), reminder_interval=HOUR)
    story.goes(a=".xxxxx")
    story.ahead -= back
    told = story.goes(a="x" * 250)
    assert levels(told) == ["127 [CRITICAL] A", "247 [CRITICAL] A"]
    assert "still offline, for 1 h 2 min:" in told[0]
    assert "still offline, for 2 h 2 min:" in told[1]


def test_what_is_over_in_the_check_that_finds_the_clock_set_back_has_lasted_as_long_as_it_did() -> None:
    story = Jumping(plain("a"), plain("b"))
    story.goes(a=".xxx", b=".xxx")
    monitor_alerts.note_failure(story.state, "gpu-mesh-stats.service", "", (), story.now, user=False)
    tick.apply(story.state, story.mesh, tick.MeshObservation({}, offline=True), story.now, story.now)
    story.ahead -= DAY
    story.mesh = Mesh(story.mesh.nodes[:1], story.mesh.settings)
    rebase(story.state, story.now)
    monitor_alerts.note_working(story.state, {"gpu-mesh-stats.service"}, story.now)
    assert story.state.alerts[-1].text == "gpu-mesh-stats.service works again"
    assert [line.partition("] ")[2] for line in story.goes(a=".")] == [
        "GPU mesh: The monitor is online again; the nodes on other machines were unwatched for 30 s",
        "B: no longer watched: it left the inventory, 1 min 30 s after it began to fail",
        "A: recovered after 1 min 30 s: 40 ms, 1 model",
    ]


def test_a_report_says_that_the_last_check_is_to_come_where_the_clock_was_set_back() -> None:
    state = State()
    tick.apply(state, MESH, tick.MeshObservation({}), NOW, NOW)
    assert humanize.ago(NOW, NOW) == "0 s ago"
    lines = status.status_text(report(MESH, state, NOW - DAY), (), status.Look("gpu-mesh run")).splitlines()
    assert "the last check was at 2027-01-15 08:00:00 UTC, which is in the future by this clock" in lines[0]


jumps = st.lists(st.tuples(st.integers(1, 80), st.floats(-3 * DAY, DAY)), max_size=6)


@given(jumps)
@settings(max_examples=30)
def test_however_the_clock_jumps_a_node_that_stays_offline_is_told_of_neither_in_bursts_nor_too_rarely(
    jumps: list[tuple[int, float]],
) -> None:
    story, forward = Jumping(plain("a"), reminder_interval=HOUR), [0]
    story.goes(a=".xxxxx")
    for checks, jump in [*jumps, (250, 0.0)]:
        story.goes(a="x" * checks)
        story.ahead += jump
        forward += [story.check + 1] * (jump > 0)
    told = [line for line in story.notified if "] A:" in line]
    at = [int(line.partition(" ")[0]) for line in told[2:]]  # when it was offline, then the reminders
    for one, other in pairwise(at):
        assert other - one >= HOUR / EVERY or any(one < check <= other for check in forward)
    # A clock that is set back can put a reminder off by less than the time that had passed already.
    assert all(other - one <= (1 + len(jumps)) * (HOUR / EVERY + 1) for one, other in pairwise(at))
    assert story.check - at[-1] <= HOUR / EVERY
    assert not [line for line in told if re.search(r"-\d|for 0 s|after 0 s", line)]


def test_nothing_is_repaired_beside_a_repair_on_the_same_machine_however_the_clock_jumps() -> None:
    beside = replace(GPU1, key="gpu2", url="http://gpu1:11435")
    elsewhere = replace(GPU1, key="gpu3", url="http://gpu3:11434")
    state = State(nodes={"gpu1": UNDER_WAY, "gpu2": DOWN, "gpu3": DOWN})
    decisions = lifecycle.claim(state, Mesh((GPU1, beside)), NOW + DAY, 4711, mine={"gpu1"})
    assert not isinstance(decisions, Job)
    assert [each.reason for each in decisions] == [
        "a recovery is under way since 08:00:00 UTC (process 4711)",
        "a recovery of gpu1 is under way on the same machine",
    ]
    job = lifecycle.claim(state, Mesh((GPU1, beside, elsewhere)), NOW + DAY, 4711, mine={"gpu1"})
    assert isinstance(job, Job)
    assert job.node == elsewhere
