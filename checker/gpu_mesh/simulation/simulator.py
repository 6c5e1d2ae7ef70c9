"""Runs a trace in made-up time: which statuses, alerts, recoveries and deliveries would follow. Pure.

1. A check comes every ``check_interval`` and takes as long as its slowest probe; one that would overlap is
   skipped.
2. Recover runs after a check that finds work for it, and at every ``recover_interval``. It claims the nodes
   that are due. Each recovery takes as long as the trace says, and is verified by probes.
3. Deliver runs after each check and each recovery, and every minute.

Nothing is decided here: the same functions decide that check, recover and deliver use.
"""

import heapq
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from gpu_mesh.alerting import acknowledging
from gpu_mesh.delivery import outbox
from gpu_mesh.diagnosis import deep_check, sleep
from gpu_mesh.domain.alert import Silence
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.gpu import LOOKS_AGAIN
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.observation import Observation
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.hosts.playbook_result import Looked, PlaybookResult
from gpu_mesh.monitor import connectivity, tick
from gpu_mesh.planning import advice, gpu_looks, plan
from gpu_mesh.recovery import brake, gpu_results, lifecycle, verification
from gpu_mesh.recovery.values import BETWEEN_PROBES, Job, Verification
from gpu_mesh.silences import silences
from gpu_mesh.simulation import fake_gpu, fake_probe, fake_recovery
from gpu_mesh.simulation.fake_monitors import ASKS, TAKES_OVER, FakeMonitors
from gpu_mesh.simulation.recorder import Recorder
from gpu_mesh.simulation.story import Event, Kind, Story, of_attempt
from gpu_mesh.simulation.trace import (
    EVERYBODY,
    Canaries,
    Facts,
    Link,
    Moment,
    Power,
    Process,
    SilenceSpec,
    Trace,
    applied,
)
from gpu_mesh.simulation.trace import describe_change as trace_words

START = 1_704_067_200.0
"""Monday, 2024-01-01 00:00:00 UTC: the times of day in a story's texts are the times since its beginning."""

DELIVER_INTERVAL = 60.0
BOOT = "this boot"


def simulate(trace: Trace) -> Story:
    """Return the story that follows from a trace."""
    run = _Run(trace)
    run.go()
    return Story(run.recorder.events(), run.state, run.checks, trace.until)


class _Work(Struct):
    """A recovery under way."""

    job: Job
    action: Action
    report: PlaybookResult | None = None
    did: list[bool] = field(default_factory=list)  # for each playbook, whether it may have changed something


# More than 300 lines: check, recover and deliver of a story share its clock, its queue and its state.
class _Run:
    """The world of one story: its clock, what is true about each node, and what is still to happen."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.mesh = trace, trace.mesh
        self.state, self.checks = State(), 0
        self.recorder = Recorder(trace.mesh, START)
        self._now = START
        self._facts = {node.key: fake_probe.Facts(since=START) for node in self.mesh.nodes}
        self._canaries, self._down = Canaries.ANSWERING, set[str]()
        self._running, self._pid = True, 1000
        self._monitors = FakeMonitors(trace.monitors)
        self._busy: dict[str, _Work] = {}
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._entered = 0

    def go(self) -> None:
        """Run the story to its end."""
        for moment in self.trace.moments:
            self._enter(START + moment.at, partial(self._happen, moment), first=True)
        self._enter(START, self._check)
        self._enter(START + self.mesh.settings.recover_interval, self._keepalive)
        self._enter(START + DELIVER_INTERVAL, self._deliver_again)
        self._enter(START + LOOKS_AGAIN, self._look_at_gpus)
        while self._queue and self._queue[0][0] <= START + self.trace.until:
            self._now, _, _, what = heapq.heappop(self._queue)
            what()

    def _enter(self, at: float, what: Callable[[], None], *, first: bool = False) -> None:
        """Add something to the queue. At the same time the trace's own events come first, then the older."""
        self._entered += 1
        heapq.heappush(self._queue, (at, 0 if first else 1, self._entered, what))

    def _note(self, item: Event) -> None:
        self.recorder.add(item, self._now)

    # The events of the trace.

    def _happen(self, moment: Moment) -> None:
        for key, what in moment.nodes.items():
            change = what if isinstance(what, Facts) else Facts(shows=what)
            self._facts[key] = applied(self._facts[key], change, self._now)
            self._note(Event(0, Kind.WORLD, key, trace_words(change)))
        for url, link in moment.urls.items():
            (self._down.add if link is Link.DOWN else self._down.discard)(url)
            self._note(Event(0, Kind.WORLD, text=f"the url {url} {_IS[link]}", url=url))
        if moment.canaries:
            self._canaries = moment.canaries
            self._note(Event(0, Kind.WORLD, text=f"the canaries {_IS[moment.canaries]}"))
        if moment.silence:
            self._silence(moment.silence)
        for key in moment.ack:
            self._acknowledge(key)
        if moment.wake:
            known = self.state.node(moment.wake)
            self.state.nodes[moment.wake] = sleep.woken(known, self._now)
            self._note(Event(0, Kind.WORLD, moment.wake, "a person runs gpu-mesh wake"))
        self._monitor_changes(moment)
        if moment.force:
            self._force(moment.force)

    def _monitor_changes(self, moment: Moment) -> None:
        if moment.kill is Process.RECOVER:
            self._kill("the recover process is killed")
        if moment.monitor is Power.STOPPED:
            self._running = False
            self._kill("the monitor is stopped")
        if moment.monitor is Power.RUNNING and not self._running:
            self._running = True
            self._note(Event(0, Kind.WORLD, text="the monitor runs again"))
        if moment.dies:
            self._die(moment.dies)
        if moment.lives:
            self._monitors.lives(moment.lives)
            self._note(Event(0, Kind.WORLD, text=f"the monitor {moment.lives} lives again"))
            self._enter(self._now + ASKS, self._take_over)

    def _die(self, name: str) -> None:
        if self._monitors.dies(name):
            self._kill(f"the monitor {name}, which leads, dies")
            self._enter(self._now + TAKES_OVER, self._take_over)
        else:
            self._note(Event(0, Kind.WORLD, text=f"the monitor {name} dies"))

    def _take_over(self) -> None:
        if self._monitors.take_over():
            self._note(Event(0, Kind.WORLD, text=f"the lease is over: {self._monitors.leader} leads"))

    @property
    def _watched(self) -> bool:
        """Whether somebody checks, alerts and repairs."""
        return self._running and self._monitors.watches

    def _silence(self, hush: SilenceSpec) -> None:
        keys = tuple(node.key for node in self.mesh.nodes if node.key in hush.names)
        added = silences.add(
            self.state,
            Silence(
                id=0,
                at=self._now,
                until=self._now + hush.length,
                reason=hush.reason,
                author="a person",
                nodes=keys,
                groups=tuple(name for name in hush.names if name not in keys),
                levels=hush.levels,
                no_recovery=hush.no_recovery,
                until_healthy=hush.until_healthy,
            ),
            self._now,
        )
        (shown_as,) = silences.in_force(Mesh(()), (added,), self._now)
        self._note(Event(0, Kind.WORLD, text=silences.described(shown_as, self._now)))

    def _acknowledge(self, key: str) -> None:
        try:
            self.state.nodes[key] = acknowledging.acknowledged(
                self.state.node(key), "a person", "", self._now
            )
        except ValueError as error:
            self._note(Event(0, Kind.WORLD, key, f"a person cannot acknowledge it: {error}"))
        else:
            self._note(Event(0, Kind.WORLD, key, "a person acknowledges it"))

    def _kill(self, words: str) -> None:
        of = ", ".join(self._busy)
        self._note(Event(0, Kind.WORLD, text=words + (f", with its recovery of {of}" if of else "")))
        self._busy.clear()

    def _force(self, name: str) -> None:
        command = f"gpu-mesh recover {'' if name == EVERYBODY else name + ' '}--force"
        self._note(Event(0, Kind.WORLD, text=f"a person runs {command}"))
        if name == EVERYBODY:
            brake.release(self.state)
            self._recover()
        elif isinstance(
            job := lifecycle.claim(self.state, self.mesh, self._now, self._pid, name, force=True), Job
        ):
            self._begin(job)

    # The three commands.

    def _check(self) -> None:
        began, seen = self._now, {}
        if self._watched:
            for node in self.mesh.nodes:
                if node.enabled:
                    seen[node.key] = self._observe(node, self.state.node(node.key))
        took = max(map(fake_probe.seconds, seen.values()), default=0.0)
        if seen:
            self._enter(began + took, partial(self._apply, seen, began))
        self._enter(began + max(took, self.mesh.settings.check_interval), self._check)

    def _apply(self, seen: dict[str, Observation], began: float) -> None:
        if not self._watched:
            return
        reachable, offline = self._ask_canaries(seen)
        shown = tick.MeshObservation(seen, reachable, offline=offline)
        shown = self._monitors.counted(self.state, self.mesh, shown, self._now)
        tick.apply(self.state, self.mesh, shown, began, self._now)
        self.checks += 1
        self.recorder.note_changes(self.state, self._now)
        decisions = plan.plan(self.mesh, self.state, self._now)
        if any(map(lifecycle.is_due, decisions)):
            self._recover()
        self.recorder.note_reasons(self.state, decisions, self._now)
        self._deliver()

    def _ask_canaries(self, seen: dict[str, Observation]) -> tuple[dict[str, str], bool]:
        canaries = self.mesh.settings.canary
        if not canaries:
            return {}, False
        nodes = [node for node in self.mesh.nodes if node.enabled]
        answer = self._canaries is Canaries.ANSWERING
        return connectivity.ask_canaries(
            canaries, self.state.canaries, nodes, seen, BOOT, lambda asked: asked if answer else ()
        )

    def _look_at_gpus(self) -> None:
        if self._watched:
            results = {}
            for node in gpu_looks.due(self.mesh, self.state, self._now):
                facts = self._facts[node.key]
                gpu = facts.gpu if fake_recovery.is_reachable(facts) else None
                results[node.key] = Looked(fake_gpu.look(gpu, self._now, facts.boots) if gpu else None)
            gpu_results.remember(self.state, self.mesh, results, self._now)
        self._enter(self._now + LOOKS_AGAIN, self._look_at_gpus)

    def _keepalive(self) -> None:
        if self._watched:
            self._recover()
        self._enter(self._now + self.mesh.settings.recover_interval, self._keepalive)

    def _recover(self) -> None:
        """Claim the nodes that are due, as many at once as the settings allow."""
        if not self._busy:
            self._pid += 1  # a process of its own
        lifecycle.expire_claims(self.state, self.mesh, self._now)
        self.recorder.note_changes(self.state, self._now)
        while len(self._busy) < max(1, self.mesh.settings.recovery_concurrency):
            claimed = lifecycle.claim(self.state, self.mesh, self._now, self._pid)
            if not isinstance(claimed, Job):
                return
            self._begin(claimed)

    def _deliver_again(self) -> None:
        if self._watched:
            self._deliver()
        self._enter(self._now + DELIVER_INTERVAL, self._deliver_again)

    def _deliver(self) -> None:
        """Send what is due; a URL that refuses an alert gets no other in this run."""
        targets, now = self.trace.targets, self._now
        outbox.close(self.state, targets, now, whole=True)
        by_id = {target.id: target for target in targets}
        digest = self.mesh.settings.alert_digest
        for url, notifications in outbox.due(self.state.alerts, targets, now, digest=digest).items():
            reason = "it is down" if url in self._down else ""
            for notification in notifications:
                if not outbox.begin(self.state, notification, by_id[url], now):
                    continue
                after = outbox.record_outcome(self.state, notification, url, reason, targets, now, whole=True)
                if after:
                    self._note(of_attempt(url, notification, after))
                if reason:
                    break

    # One recovery.

    def _begin(self, job: Job) -> None:
        work = _Work(job, job.claim.action)
        self._busy[job.node.key] = work
        what = advice.describe_action(work.action, job.node, job.claim.playbook)
        look = "" if work.action is Action.OWN_PLAYBOOK else "look, then "
        text = f"{look}{what}"
        self._note(Event(0, Kind.CLAIMED, job.node.key, text, cause=job.cause, action=work.action))
        self._act(work)

    def _act(self, work: _Work) -> None:
        job, before = work.job, self._facts[work.job.node.key]
        report, after = fake_recovery.act(job, work.action, before, self.mesh, self._now)
        self._enter(self._now + report.seconds, partial(self._acted, work, report, before, after))

    def _acted(
        self, work: _Work, report: PlaybookResult, before: fake_probe.Facts, after: fake_probe.Facts
    ) -> None:
        key = work.job.node.key
        if self._busy.get(key) is not work:
            return  # killed meanwhile
        if after is not before and self._facts[key] is before:
            self._facts[key] = away = replace(after, since=self._now)
            if work.action is Action.REBOOT_HOST:
                self._enter(self._now + fake_recovery.AWAY, partial(self._come_back, key, before, away))
        work.did.append(report.done or (report.looked and not report.success))
        work.report = verification.rebuilt(work.report, report) if work.report else report
        if len(work.did) == 1 and verification.follow_up(work.job, report):
            work.action = Action.REBUILD_TUNNEL
            self._act(work)
            return
        if work.action is Action.REBOOT_HOST and report.done:
            self._record_result(work, report, Verification())
            return
        patience = self.mesh.settings.recovery_settle if work.report.done else 0.0
        self._verify(work, work.report, self._now + patience)

    def _come_back(self, key: str, before: fake_probe.Facts, away: fake_probe.Facts) -> None:
        """Let a host be up again, unless the trace has said otherwise of it meanwhile."""
        if self._facts[key] is away:
            self._facts[key] = replace(fake_recovery.is_back(before, away), since=self._now)
            self._note(Event(0, Kind.WORLD, key, "its host is up again"))

    def _verify(self, work: _Work, report: PlaybookResult, until: float) -> None:
        job = work.job
        if self._busy.get(job.node.key) is not work:
            return
        seen = self._observe(job.node, job.before)
        verified = verification.verify(job, seen)
        at = self._now + fake_probe.seconds(seen)
        if verified.repaired or at + BETWEEN_PROBES >= until:
            self._enter(at, partial(self._record_result, work, report, verified))
        else:
            self._enter(at + BETWEEN_PROBES, partial(self._verify, work, report, until))

    def _record_result(self, work: _Work, report: PlaybookResult, verified: Verification) -> None:
        job = work.job
        if self._busy.get(job.node.key) is not work:
            return
        del self._busy[job.node.key]
        ending = verification.result_of(job, work.action, report, verified, self._now)
        lifecycle.record_result(self.state, self.mesh, job, ending, verified, counts=True)
        self._note(
            Event(
                0,
                Kind.RECOVERY,
                job.node.key,
                ending.words,
                cause=ending.cause,
                action=ending.action,
                finding=ending.finding.value,
                outcome=ending.outcome,
                done=any(work.did),
                seconds=self._now - job.claim.at,
            )
        )
        self.recorder.note_changes(self.state, self._now)
        self._recover()  # recover goes on until nothing is due
        self._deliver()

    def _observe(self, node: Node, before: NodeState) -> Observation:
        interval = self.mesh.settings.deep_interval
        choose = partial(deep_check.choose, before, at=self._now, interval=interval)
        return fake_probe.observe(node, self._facts[node.key], self._now, choose)


_IS: dict[StrEnum, str] = {
    Link.WORKS: "takes messages again",
    Link.DOWN: "is down",
    Canaries.ANSWERING: "answer again",
    Canaries.SILENT: "are silent",
}
