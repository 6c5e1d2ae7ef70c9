"""Whatever happens to a node: what an alert about it claims follows from what has happened."""

import re
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from factories import EVERY, Story, answers, fails, plain
from gpu_mesh.alerting.recovery_alerts import is_call
from gpu_mesh.cli.ack import acknowledge
from gpu_mesh.domain.alert import Alert, Silence
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts.playbook_result import PlaybookResult
from gpu_mesh.recovery import lifecycle, verification
from gpu_mesh.recovery.values import Job, Verification
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import format_duration, plural

REPAIRED = PlaybookResult(True, "a", looked=True, done=True, said="restarted", finding=Finding.SILENT)


@dataclass
class History:
    """What has happened to the node, kept apart from the state."""

    failures: int = 0  # consecutive
    began: float = 0.0  # of the trouble that lasts, or that was over last
    over: float = 0.0  # when it was over
    healthy: bool = True
    repairs: list[tuple[float, bool]] = field(default_factory=list)  # when, and whether it helped
    silenced_until: float = 0.0

    def saw(self, what: str, at: float) -> None:
        if what == ".":
            self.over = self.over if self.healthy else at
            self.failures, self.healthy = 0, True
            return
        self.failures = self.failures + 1 if what == "x" else 0
        self.began = at if self.healthy else self.began
        self.healthy = False


# x c . checks that fail, show a model on the CPU, are well; R H repairs that did not help, that helped;
# S a silence of two minutes; K somebody acknowledges.
WHAT = st.lists(
    st.sampled_from(
        ["x", "xxx", "x" * 12, ".", "c", "ccc", "c" * 12, "R", "RR", "H", "xxxH", "xxxSRRRxxxxxxx", "S", "K"]
    ),
    max_size=30,
).map("".join)


@settings(max_examples=300)
@given(WHAT)
def test_every_claim_of_an_alert_follows_from_what_has_happened(story_of: str) -> None:
    story, history = Story(plain("a"), flapping=False, grace=0, reminder_interval=300), History()
    story.goes(a=".")
    for what in story_of:
        first = story.state.next_alert
        happens(story, history, what)
        for alert in story.state.alerts:
            if alert.id >= first and not alert.muted:
                check(alert, story, history)


def happens(story: Story, history: History, what: str) -> None:
    """Let one thing happen, in the story and in its history."""
    if what in "x.c":
        story.goes(a=what)
        history.saw(what, story.now)
    elif what in "RH":
        repair(story, history, helps=what == "H")
    elif what == "S":
        history.silenced_until = story.now + 120
        silence = Silence(0, story.now, history.silenced_until, "work", "anna", nodes=("a",))
        silences.add(story.state, silence, story.now)
    elif not history.healthy:
        acknowledge(story.state, story.mesh, ("a",), "anna", "", story.now)


def repair(story: Story, history: History, *, helps: bool) -> None:
    """Let a person order a repair, which ends a second later."""
    job = lifecycle.claim(story.state, story.mesh, story.now + 1, 1, "a", force=True)
    if not isinstance(job, Job):
        return
    at = story.now + 2
    seen = answers("a", at) if helps else fails("a", at)
    found = Verification(seen, serves=helps, detail="" if helps else "Timeout (10s)")
    ended = verification.result_of(job, job.claim.action, REPAIRED, found, at)
    assert ended.attempt().helped is helps
    lifecycle.record_result(story.state, story.mesh, job, ended, found, counts=True)
    if not history.healthy:
        history.repairs.append((at, helps))
    if helps:
        history.saw(".", at)


def check(alert: Alert, story: Story, history: History) -> None:
    """Check each claim that the text makes."""
    text, now = alert.text, alert.at
    known = story.state.nodes["a"]
    claimed = 0
    if said := re.search(r"(unhealthy|offline) after (\d+ failures?)", text):
        assert said[2] == plural(history.failures, "failure")
        assert known.status is Status(said[1])
        claimed += 1
    if said := re.match(r"recovered(?: after ([^:;,]+))?", text):
        assert history.healthy
        assert (said[1] or "0 s") == format_duration(history.over - history.began)
        claimed += 1
    if said := re.search(r"still (\w+), for ([^:]+)", text):
        assert not history.healthy
        assert known.status is Status(said[1])
        assert said[2] == format_duration(now - history.began)
        claimed += 1
    if "its silence is over" in text:
        assert now - EVERY < history.silenced_until <= now
        claimed += 1
    if said := re.search(r"failed again after (\d+) recent repairs?", text):
        before = [at for at, _ in history.repairs if at < history.began]
        assert before, "it has never been well since a repair"
        assert int(said[1]) <= len([at for at, _ in history.repairs if now - at <= 2 * 3600])
        claimed += 1
    if said := re.search(r"\(attempt (\d+) of (\d+)\)", text):
        assert int(said[1]) <= len(history.repairs)
        assert int(said[1]) == int(said[2]) or not is_call(alert)
        claimed += 1
    if "answers again" in text:
        assert not history.healthy
        assert history.failures == 0
        claimed += 1
    if text.startswith(("degraded: ", "its silence is over, and it is degraded")):
        assert known.status is Status.DEGRADED
        claimed += 1
    assert claimed, f"nobody has checked what this claims: {text}"
