"""Describes one node as it is now in one value, a part of the report. Pure."""

from msgspec import Struct

from gpu_mesh.diagnosis import uptime
from gpu_mesh.domain.alert import Acknowledgement, Muted
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import GpuRule, Mesh, Node
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.recovery import Decision, Finding, Outcome
from gpu_mesh.domain.state import NodeRecovery, NodeState, NodeStatistics
from gpu_mesh.planning import advice, drains, ladder, plan
from gpu_mesh.reporting import gpus
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import format_clock


class LoadedModelReport(Struct, frozen=True):
    """One loaded model. Sizes are bytes, the context length is tokens; None: Ollama did not say."""

    name: str
    size: int | None
    size_vram: int | None
    context_length: int | None
    expires_at: float | None  # Unix seconds by the node's own clock


class ChecksReport(Struct, frozen=True):
    """How many checks of a node there were, by verdict, since it was first seen."""

    ok: int
    impaired: int
    failed: int


class RecoveriesReport(Struct, frozen=True):
    """How many recoveries of a node by one playbook ended in one way, since it was first seen."""

    playbook: str  # the action, or the file's name of the operator's own
    outcome: Outcome
    count: int


class NodeReport(Struct, frozen=True):
    """One node. Times are Unix seconds (None: never), rates and scores per cent (None: not known yet)."""

    node: str
    name: str
    url: str
    port: int
    tunnel: bool
    enabled: bool
    status: Status
    since: float | None
    incident_since: float | None  # since when it is not healthy; None: it is, or that is not known
    cause: Cause | None
    detail: str
    next_step: str
    notes: tuple[str, ...]  # what is no trouble, but perhaps not meant
    consecutive_failures: int
    answers: bool  # in the last check; if not, models, version and the like are from its last answer
    response_ms: float | None
    usual_response_ms: float | None
    success_rate: float | None
    success_rate_24h: float | None
    score: float | None
    checks: ChecksReport
    models: tuple[str, ...]
    cloud_models: tuple[str, ...]
    loaded: tuple[str, ...]
    loaded_models: tuple[LoadedModelReport, ...]
    gpu: gpus.GpuReport | None  # None: nobody has looked
    version: str
    last_check: float | None
    recovering: bool
    recovery_attempts: int  # of this incident and the last hour, without declined ones
    recoveries: tuple[RecoveriesReport, ...]  # all since it was first seen
    last_recovery: str  # how the last one in this incident ended, in words
    unproved: bool  # whether it helped shows only when a model is loaded again
    recovery_plan: str  # what recovery would do now, and why; "": there is nothing to repair
    recovery_reason: str  # why nothing is repaired now; "": it will be, or there is nothing to repair
    next_recovery: float | None  # when the next attempt is due; None: it does not depend on time alone
    person_called: float | None  # when a person was called in this incident
    alerts_muted: str  # why its alerts are muted now; "": they are not, or there is nothing to alert
    silenced_until: float | None  # when the silence of its alerts ends; None: they are not silenced
    acknowledged: Acknowledgement | None  # a person knows of its incident
    draining: str  # why and until when it takes no new requests; "": it takes them
    draining_until: float | None  # when that ends, or its repair begins; None: it takes them
    asleep_since: float | None  # since when it sleeps, so that its status is unknown; None: it does not
    woken_at: float | None  # when it was woken, if it has not answered since

    @property
    def is_awake(self) -> bool:
        """Whether it should serve: it is enabled, and does not sleep."""
        return self.enabled and self.asleep_since is None


def node_report(
    node: Node,
    known: NodeState,
    mesh: Mesh,
    decision: Decision | None,
    silenced: silences.MutedUntil | None,
    now: float,
) -> NodeReport:
    """Describe a node.

    Args:
        node: the node.
        known: its state.
        mesh: all nodes.
        decision: what recovery would do about it; None: nothing was decided.
        silenced: why its alerts are silenced, and until when; None: they are not.
        now: Unix seconds.
    """
    return NodeReport(
        node=node.key,
        name=node.name,
        url=node.url,
        port=node.port,
        tunnel=node.tunnel is not None,
        enabled=node.enabled,
        status=known.status,
        since=known.since or None,
        incident_since=known.incident_since or None,
        cause=known.cause,
        detail=known.detail,
        next_step=_next_step(node, known),
        notes=_notes(node, known),
        consecutive_failures=known.failures,
        answers=node.enabled and known.verdict in (Verdict.OK, Verdict.IMPAIRED),
        response_ms=rounded(known.response_ms),
        usual_response_ms=rounded(known.statistics.usual_ms or None),
        success_rate=rounded(uptime.success_rate(known)),
        success_rate_24h=rounded(uptime.success_rate_24h(known, now)),
        score=rounded(uptime.score(known)),
        checks=_checks(known.statistics),
        models=known.models,
        cloud_models=known.cloud_models,
        loaded=tuple(model.name for model in known.loaded),
        loaded_models=tuple(map(_loaded, known.loaded)),
        gpu=gpus.report(node, known, now),
        version=known.version,
        last_check=known.last_check or None,
        recovering=known.recovery.claim is not None and known.recovery.claim.until > now,
        recovery_attempts=ladder.acted(known.recovery.attempts),
        recoveries=_recoveries(known.recovery),
        last_recovery=_last_recovery(known),
        unproved=any(each.outcome is Outcome.UNPROVED for each in known.recovery.attempts[-1:]),
        recovery_plan=plan.describe_one(decision, mesh) if decision and known.cause else "",
        recovery_reason=_reason(known, decision),
        next_recovery=(decision.due if decision else 0.0) or None,
        person_called=known.recovery.called_at or None,
        alerts_muted=_why_muted(known, silenced, now),
        silenced_until=silenced.until if silenced else None,
        acknowledged=known.alerting.acknowledged,
        draining=drains.describe(known, now),
        draining_until=known.recovery.drain.until
        if known.recovery.drain and drains.is_draining(known, now)
        else None,
        asleep_since=known.asleep_since or None,
        woken_at=known.woken_at or None,
    )


def rounded(value: float | None) -> float | None:
    """Return a figure as it is worth printing. What is less than all never becomes all."""
    if value is None:
        return None
    rounded = round(value, 2)
    return 99.99 if rounded == 100 > value else rounded


def _checks(of: NodeStatistics) -> ChecksReport:
    impaired = of.impaired_checks
    return ChecksReport(ok=of.successes - impaired, impaired=impaired, failed=of.checks - of.successes)


def _recoveries(known: NodeRecovery) -> tuple[RecoveriesReport, ...]:
    return tuple(
        RecoveriesReport(playbook, outcome, count)
        for playbook, outcomes in known.recoveries.items()
        for outcome, count in outcomes.items()
    )


def _loaded(model: LoadedModel) -> LoadedModelReport:
    return LoadedModelReport(
        name=model.name,
        size=model.size or None,
        size_vram=model.size_vram if model.size else None,
        context_length=model.context_length or None,
        expires_at=model.expires_at or None,
    )


_FINDINGS = frozenset(Finding)


def _next_step(node: Node, known: NodeState) -> str:
    if known.cause is None:
        return ""
    found = known.recovery.attempts[-1].finding if known.recovery.attempts else ""
    finding = Finding(found) if found in _FINDINGS else Finding.NONE  # a newer version has further ones
    return advice.step_after(node, finding, known.cause, ladder.last_words(node, known))


def _notes(node: Node, known: NodeState) -> tuple[str, ...]:
    if not known.cpu_only or node.expects_gpu.rule is not GpuRule.AUTO:
        return ()
    note = (
        "its models run on the CPU, and none was ever seen in VRAM; if it has a GPU that Ollama should use, "
        "set mesh_node_expects_gpu: true, else false"
    )
    return (note,)


def _last_recovery(known: NodeState) -> str:
    # Those of an incident before this one are kept for a while.
    attempts = [each for each in known.recovery.attempts if each.at >= known.incident_since]
    if not attempts:
        return ""
    last = attempts[-1]
    return f"{advice.describe_outcome(last.outcome)} ({format_clock(last.at)}): {last.words}"


def _why_muted(known: NodeState, silenced: silences.MutedUntil | None, now: float) -> str:
    if known.alerting.muted_for in (Muted.SILENCE, Muted.MAINTENANCE) and silenced:
        return silences.describe_silence(silenced, now)
    return {
        Muted.SILENCE: "silenced",
        Muted.MAINTENANCE: "in maintenance",
        Muted.DEPENDENCY: f"{known.alerting.inhibited_by} fails, which explains it",
        Muted.MESH: "one alert covers all nodes that fail at once",
        Muted.GRACE: "new node, never healthy yet",
        Muted.ACKNOWLEDGED: "",  # said elsewhere
        Muted.WITHOUT_GPU: "that it has no GPU for its models was alerted once",
        Muted.REBOOT: "its host is being rebooted",
        Muted.FIRST_FAILURE: "so few failures may be a lost probe",
        None: "",
    }[known.alerting.muted_for]


def _reason(known: NodeState, decision: Decision | None) -> str:
    if known.status not in (Status.UNHEALTHY, Status.OFFLINE) or decision is None:
        return ""
    return decision.reason if decision.action is Action.NONE else ""
