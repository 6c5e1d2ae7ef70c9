"""Writes the whole story of one node for people: ``gpu-mesh status NODE``. Pure."""

from collections.abc import Sequence
from datetime import tzinfo

from msgspec import Struct

from gpu_mesh.domain.history import PastEvent
from gpu_mesh.reporting import past, vram
from gpu_mesh.reporting.availability import Figures
from gpu_mesh.reporting.gpus import CardReport
from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport
from gpu_mesh.reporting.report import Report
from gpu_mesh.reporting.shown import (
    ALMOST_NOTHING,
    ASLEEP,
    STYLES,
    duration,
    indented,
    milliseconds,
    per_cent,
    response,
    sleeps,
    what_is_done,
)
from gpu_mesh.reporting.status import Look, monitor_line
from gpu_mesh.text import bars
from gpu_mesh.text.humanize import ago, format_duration, plural
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned, aligned_within, cut, wrapped
from gpu_mesh.text.zones import local

DAYS = 90
"""Days of the past whose figures are shown."""

_MANY = 12  # models that are named; of more only the number is said


class NodePast(Struct, frozen=True):
    """What the history has of one node."""

    figures: Figures | None = None  # of the last DAYS; None: there is no history
    events: tuple[PastEvent, ...] = ()  # the newest, oldest first


def node_text(of: Report, node: NodeReport, before: NodePast, look: Look) -> str:
    """Write the story of one node.

    Args:
        of: the report.
        node: the node of it.
        before: what the history has of it.
        look: how a person looks at it.
    """
    head = _head(node, of.at, look.zone)
    head = cut(head, look.width) if look.width else head
    parts = [
        [monitor_line(of, look, of_all=False)],
        [look.paint(head, STYLES[node.status]), *indented(_trouble(node, of.at))],
        _section("address", [one_line(node.url, 200) + (", by a tunnel" if node.tunnel else "")], look),
        _section("figures", [_figures(node), *_long_figures(before)], look),
        _section("models", _models(node, of.at, look.zone), look),
        _section("GPU", _gpu(node, of.at), look),
    ]
    if before.events:
        recent = past.recent(before.events, {node.node: node.name}, of.at, look.zone, look.width)
        parts.append(["Recently:", *recent])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(node: NodeReport, now: float, zone: tzinfo | None) -> str:
    if not node.enabled:
        return f"⏸ {one_line(node.name, 60)} is disabled"
    since = ""
    if not node.is_awake:
        return f"{ASLEEP} {one_line(node.name, 60)} is {sleeps(node, now)}"
    if node.since:
        at = local(node.since, zone)
        since = f" since {at:%Y-%m-%d %H:%M %Z} ({format_duration(now - node.since)})"
    return f"{node.status.icon} {one_line(node.name, 60)} is {node.status}{since}"


def _trouble(node: NodeReport, now: float) -> list[str]:
    if not node.enabled:
        return ["nobody checks it; mesh_node_enabled says so"]
    if not node.is_awake:
        return ["nothing of it is checked but whether it is awake"]
    lines = []
    if node.detail:
        failures = node.consecutive_failures
        in_a_row = f" ({plural(failures, 'failure')} in a row)" if failures else ""
        lines.append(f"what: {node.detail}{in_a_row}")
    lines += what_is_done(node, now, whole=True)
    if node.next_step:
        lines.append(f"next: {node.next_step}")
    return [*lines, *(f"note: {note}" for note in node.notes)]


def _figures(node: NodeReport) -> str:
    parts = [
        f"{response(node)} (usually {milliseconds(node.usual_response_ms)})",
        f"24 h {per_cent(node.success_rate_24h)}",
        f"score {'–' if node.score is None else f'{node.score:.0f}'}",
    ]
    if node.version:
        parts.append(f"Ollama {one_line(node.version, 40)}")
    return " · ".join(parts)


def _long_figures(before: NodePast) -> list[str]:
    of = before.figures
    if of is None or not of.watched:
        return []
    available = f"available {per_cent(of.availability)} of {format_duration(of.watched)}"
    parts = [available, plural(of.incidents, "incident")]
    if of.incidents:
        parts.append(f"over after {duration(of.mean_to_repair)} on average")
    if of.p95_ms is not None:
        parts.append(f"p50 {milliseconds(of.p50_ms)}, p95 {milliseconds(of.p95_ms)}")
    return [" · ".join(parts)]


def _models(node: NodeReport, now: float, zone: tzinfo | None) -> list[str]:
    if not node.answers:
        return ["not known while it does not answer"] if node.enabled else []
    rows = [_loaded(model, now, zone) for model in node.loaded_models]
    named = ", ".join(sorted(node.models)[:_MANY])
    more = f" and {len(node.models) - _MANY} more" if len(node.models) > _MANY else ""
    lines = [f"{len(node.models)} there: {named}{more}"] if node.models else ["none there"]
    if node.cloud_models:
        lines.append(f"{len(node.cloud_models)} in the cloud: {', '.join(node.cloud_models[:_MANY])}")
    return [*(aligned(rows) or ["none is loaded"]), *(one_line(line, 1000) for line in lines)]


def _loaded(model: LoadedModelReport, now: float, zone: tzinfo | None) -> tuple[str, ...]:
    cpu = vram.on_cpu(model)
    share = "" if cpu is None else "all in VRAM" if cpu <= ALMOST_NOTHING else f"{cpu:.0%} on the CPU"
    context = f"context {model.context_length}" if model.context_length else ""
    size = vram.gib(model.size) if model.size else "–"
    return f"● {one_line(model.name, 60)}", size, share, context, _until(model.expires_at, now, zone)


def _until(at: float | None, now: float, zone: tzinfo | None) -> str:
    """Return when a model is unloaded, by the node's own clock; one that is kept for ever has a far date."""
    if at is None or at <= now:
        return ""
    far = at - now > 366 * 86400
    return "stays loaded" if far else f"until {local(at, zone):%H:%M %Z}"


def _gpu(node: NodeReport, now: float) -> list[str]:
    if node.gpu is None:
        return []
    seen = node.gpu
    driver = f"driver {one_line(seen.driver, 40)}" if seen.driver else "no driver of NVIDIA"
    old = ", out of date" if seen.outdated else ""
    return [*aligned([_card(card) for card in seen.cards]), f"{driver}; seen {ago(seen.seen, now)}{old}"]


def _card(card: CardReport) -> tuple[str, ...]:
    number = "GPU" if card.index is None else f"GPU {card.index}"
    memory = ""
    if card.memory_total:
        used = card.memory_used or 0
        bar = bars.bar(used / card.memory_total, 8)
        memory = f"{bar} {used / vram.GIB:.1f}/{card.memory_total / vram.GIB:.1f} GiB"
    figures = ((card.utilization, "%"), (card.temperature, " °C"), (card.power, " W"))
    shown = " ".join(f"{value:.0f}{unit}" for value, unit in figures if value is not None)
    return number, "LOST" if card.lost else one_line(card.name, 40), memory, shown


def _section(name: str, lines: Sequence[str], look: Look) -> list[str]:
    """Return the lines with the name of their part before the first."""
    if not lines:
        return []
    width = max(look.width - 10, 20) if look.width else 0
    parts = [part for line in lines for part in (_fitting(line, width) if width else [line])]
    return [f"{name if number == 0 else '':8}  {part}" for number, part in enumerate(parts)]


def _fitting(line: str, width: int) -> list[str]:
    return wrapped(line, width) if "  " not in line else aligned_within([(line,)], width)
