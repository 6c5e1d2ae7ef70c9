"""Puts single figures of a node into words, the same in every view. Pure."""

from collections.abc import Iterable

from gpu_mesh.domain.alert import Acknowledgement
from gpu_mesh.domain.health import Status
from gpu_mesh.reporting.report import NodeReport, Report
from gpu_mesh.text.humanize import ago, format_duration
from gpu_mesh.text.paint import Style

_GIB = 2**30
_BAR = 6  # cells


def counts(of: Report) -> str:
    """Return how many of the enabled nodes are healthy."""
    enabled = [node for node in of.nodes if node.enabled]
    healthy = sum(node.status is Status.HEALTHY for node in enabled)
    return f"{healthy} of {len(enabled)} nodes healthy"


def status_of(node: NodeReport) -> str:
    """Return a node's status in a word."""
    return str(node.status) if node.enabled else "disabled"


def sign_of(node: NodeReport) -> str:
    """Return the sign of a node's status."""
    return node.status.icon if node.enabled else "⏸"


def models(node: NodeReport) -> str:
    """Return the loaded models, with the share in VRAM where that is not all; else how many it has."""
    if not node.answers:
        return "–"
    if not node.loaded_models:
        return f"no model loaded, {len(node.models)} there" if node.models else "no models"
    return ", ".join(_loaded(model.name, model.size, model.size_vram) for model in node.loaded_models)


def _loaded(name: str, size: int | None, in_vram: int | None) -> str:
    if not size or in_vram is None or in_vram >= size:
        return name
    return f"{name} ({round(100 * in_vram / size)}% in VRAM)"


def vram(node: NodeReport) -> str:
    """Return how much of the cards' memory is in use; without a fresh look, what Ollama says it uses."""
    cards = () if node.gpu is None or node.gpu.outdated else node.gpu.cards
    used = sum(card.memory_used or 0 for card in cards)
    if total := sum(card.memory_total or 0 for card in cards):
        return f"{bar(used / total)} {used / _GIB:.0f}/{total / _GIB:.0f} GiB"
    loaded = sum(model.size_vram or 0 for model in node.loaded_models) if node.answers else 0
    return f"{loaded / _GIB:.1f} GiB VRAM" if loaded else "–"


def bar(share: float) -> str:
    """Return a bar of six cells that is filled by this share; what is not nothing fills one at least."""
    filled = min(max(round(share * _BAR), int(share > 0)), _BAR)
    return "▰" * filled + "▱" * (_BAR - filled)


def response(node: NodeReport) -> str:
    """Return the response time of the last check; –: it did not answer."""
    return milliseconds(node.response_ms if node.answers else None)


def milliseconds(value: float | None) -> str:
    """Return a response time; –: there is none."""
    return "–" if value is None else f"{value:.0f} ms"


def per_cent(value: float | None) -> str:
    """Return a share; –: it is not known yet."""
    return "–" if value is None else f"{value:.1f}%"


def acknowledged(given: Acknowledgement, at: float) -> str:
    """Return who knows of a node's trouble, since when and why."""
    reason = f": {given.reason}" if given.reason else ""
    return f"acknowledged by {given.author} {ago(given.at, at)}{reason}"


def style_of(status: Status) -> Style:
    """Return how a status is shown where there are colours."""
    return {
        Status.HEALTHY: Style.GOOD,
        Status.DEGRADED: Style.WARN,
        Status.UNKNOWN: Style.PLAIN,
    }.get(status, Style.BAD)


def duration(seconds: float | None) -> str:
    """Return a duration; –: there is none."""
    return "–" if seconds is None else format_duration(seconds)


def indented(lines: Iterable[str]) -> list[str]:
    """Return the lines, indented below what they belong to."""
    return [f"   {line}" for line in lines]
