"""Decides what strangers see: no host, address, URL, tunnel, command, person or words of a node. Pure.

Every field is named here: a new one of the report is not public until somebody has thought about it.
"""

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Incident
from gpu_mesh.publishing.past import Past
from gpu_mesh.publishing.view import stale_after
from gpu_mesh.reporting.gpus import CardReport, GpuReport
from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport
from gpu_mesh.reporting.report import MeshReport, Report
from gpu_mesh.silences.silences import InForce

_ADDRESS = re.compile(
    r"://|@|\w:\d+\b|\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:|[\w-]+\.[a-z][\w-]|\blocalhost\b", re.IGNORECASE
)
"""What looks like an address or the name of a host."""

_GPU, _MODELS = "The GPU does not work as it should", "A model is missing"
_DOWN, _IMPAIRED = "Not serving", "Serving, but not well"


class PublicMesh(Struct, frozen=True):
    """The mesh as strangers see it; fields as in MeshReport."""

    health: float | None
    stale: bool
    last_check: float | None
    interval: float
    offline_since: float | None


class PublicNode(Struct, frozen=True):
    """A node as strangers see it; fields as in NodeReport."""

    node: str
    name: str
    enabled: bool
    status: Status
    since: float | None
    detail: str
    asleep_since: float | None
    answers: bool
    response_ms: float | None
    success_rate_24h: float | None
    models: tuple[str, ...]
    loaded: tuple[str, ...]


class PublicReport(Struct, frozen=True):
    """What ``status.json`` holds for strangers."""

    schema: int
    at: float
    stale_after: float
    mesh: PublicMesh
    nodes: tuple[PublicNode, ...]


def names(of: Report) -> Mapping[str, str]:
    """Return the public key of each node, by its key: one that looks like an address is replaced.

    In its place comes the node's name for people, or, where that looks like an address, too, or is another
    node's, its number in the inventory.
    """
    found: dict[str, str] = {}
    taken = {node.node for node in of.nodes if not _ADDRESS.search(node.node)}
    for number, node in enumerate(of.nodes, start=1):
        if node.node in taken:
            found[node.node] = node.node
            continue
        named = node.name
        if _ADDRESS.search(named) or named in taken:
            named = f"node-{number}"
        while named in taken:
            named = f"{named}-"
        found[node.node] = named
        taken.add(named)
    return found


def report(of: Report) -> Report:
    """Return the report as strangers see it."""
    known, mesh = names(of), of.mesh
    return Report(
        schema=of.schema,
        at=of.at,
        mesh=MeshReport(
            health=mesh.health,
            stale=mesh.stale,
            patience=mesh.patience,
            watched=mesh.watched,
            last_check=mesh.last_check,
            interval=mesh.interval,
            check_seconds=0.0,
            too_slow=False,
            offline_since=mesh.offline_since,
            unprobed=0,
            history_error="",
            inventory_error="",
            alerts_waiting=0,
            alert_urls=None,
            alerts_without_url=0,
            silences=tuple(_window(each, known) for each in mesh.silences if each.id is None),
            emergency=None,
            monitors=None,
        ),
        nodes=tuple(_node(node, known[node.node]) for node in of.nodes),
    )


def past(of: Past, known: Mapping[str, str]) -> Past:
    """Return the past as strangers see it, without nodes that are gone.

    Args:
        of: the past.
        known: what ``names`` returns.
    """
    return Past(
        days={
            known[key]: tuple(replace(day, node=known[key]) for day in days)
            for key, days in of.days.items()
            if key in known
        },
        incidents=tuple(_incident(each, known[each.node]) for each in of.incidents if each.node in known),
    )


def status(of: Report) -> PublicReport:
    """Return what strangers read as JSON.

    Args:
        of: what ``report`` returns.
    """
    return PublicReport(
        schema=of.schema,
        at=of.at,
        stale_after=stale_after(of),
        mesh=PublicMesh(
            health=of.mesh.health,
            stale=of.mesh.stale,
            last_check=of.mesh.last_check,
            interval=of.mesh.interval,
            offline_since=of.mesh.offline_since,
        ),
        nodes=tuple(
            PublicNode(
                node=node.node,
                name=node.name,
                enabled=node.enabled,
                status=node.status,
                since=node.since,
                detail=node.detail,
                asleep_since=node.asleep_since,
                answers=node.answers,
                response_ms=node.response_ms,
                success_rate_24h=node.success_rate_24h,
                models=node.models,
                loaded=node.loaded,
            )
            for node in of.nodes
        ),
    )


def _node(node: NodeReport, named: str) -> NodeReport:
    return NodeReport(
        node=named,
        name=named if _ADDRESS.search(node.name) else node.name,
        url="",
        port=0,
        tunnel=False,
        enabled=node.enabled,
        status=node.status,
        since=node.since,
        incident_since=node.incident_since,
        cause=None,
        detail=_detail(node.cause),
        next_step="",
        notes=(),
        consecutive_failures=node.consecutive_failures,
        answers=node.answers,
        response_ms=node.response_ms,
        usual_response_ms=node.usual_response_ms,
        success_rate=node.success_rate,
        success_rate_24h=node.success_rate_24h,
        score=node.score,
        checks=node.checks,
        models=tuple(map(_model, node.models)),
        cloud_models=tuple(map(_model, node.cloud_models)),
        loaded=tuple(map(_model, node.loaded)),
        loaded_models=tuple(map(_loaded, node.loaded_models)),
        gpu=_gpu(node.gpu) if node.gpu else None,
        version="",
        last_check=node.last_check,
        recovering=node.recovering,
        recovery_attempts=node.recovery_attempts,
        recoveries=(),
        last_recovery="",
        unproved=False,
        recovery_plan="",
        recovery_reason="",
        next_recovery=None,
        person_called=None,
        alerts_muted="",
        silenced_until=None,
        acknowledged=None,
        draining="",
        draining_until=None,
        asleep_since=node.asleep_since,
        woken_at=None,
    )


def _detail(cause: Cause | None) -> str:
    """Return in words how bad it is: the cause's own words tell how the node is reached."""
    if cause is None:
        return ""
    if cause.is_of_gpu or cause is Cause.CPU_FALLBACK:
        return _GPU
    if cause is Cause.MODELS_MISSING:
        return _MODELS
    return _DOWN if CAUSES[cause].verdict is Verdict.FAILED else _IMPAIRED


def _model(name: str) -> str:
    """Return a model's name without the registry and the folder that it came from."""
    return name.rpartition("/")[2]


def _loaded(model: LoadedModelReport) -> LoadedModelReport:
    return LoadedModelReport(
        name=_model(model.name),
        size=model.size,
        size_vram=model.size_vram,
        context_length=model.context_length,
        expires_at=model.expires_at,
    )


def _gpu(of: GpuReport) -> GpuReport:
    return GpuReport(seen=of.seen, outdated=of.outdated, driver="", cards=tuple(map(_card, of.cards)))


def _card(card: CardReport) -> CardReport:
    return CardReport(
        vendor=card.vendor,
        bus="",
        lost=card.lost,
        index=card.index,
        uuid="",
        name=card.name,
        memory_used=card.memory_used,
        memory_total=card.memory_total,
        utilization=card.utilization,
        temperature=card.temperature,
        power=card.power,
        slowed_by=(),
    )


def _window(each: InForce, known: Mapping[str, str]) -> InForce:
    return InForce(
        id=None,
        at=each.at,
        until=each.until,
        reason="planned",
        author="",
        nodes=tuple(known[key] for key in each.nodes if key in known),
        groups=(),
        levels=(),
        no_recovery=False,
        until_healthy=False,
    )


def _incident(each: Incident, named: str) -> Incident:
    return Incident(
        node=named,
        began=each.began,
        ended=each.ended,
        cause=None,
        worst=each.worst,
        detail=_detail(each.cause),
        alerted=None,
        repairs=each.repairs,
        mended="a repair" if each.mended else "",
    )
