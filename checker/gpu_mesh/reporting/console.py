"""Writes the statistics, and the dashboard of the journal, for people. Text without colour. Pure."""

from gpu_mesh.alerting.alerts import one_line
from gpu_mesh.domain.alert import Alert
from gpu_mesh.reporting.report import Report, counted_by_level
from gpu_mesh.reporting.shown import (
    acknowledged,
    counts,
    drains,
    indented,
    milliseconds,
    per_cent,
    response,
    sign_of,
    status_of,
)
from gpu_mesh.silences import silences
from gpu_mesh.text.humanize import ago, format_clock
from gpu_mesh.text.table import aligned_within


def statistics(of: Report, width: int = 0) -> str:
    """Write the statistics: figures of each node and of the mesh, in so many cells (0: any)."""
    header = (
        "",
        "node",
        "status",
        "score",
        "success",
        "24 h",
        "response",
        "usual",
        "models",
        "loaded",
        "failures",
    )
    rows = [
        (
            sign_of(node),
            node.name,
            status_of(node),
            _number(node.score),
            per_cent(node.success_rate),
            per_cent(node.success_rate_24h),
            response(node),
            milliseconds(node.usual_response_ms),
            str(len(node.models)) if node.answers else "–",
            str(len(node.loaded)) if node.answers else "–",
            str(node.consecutive_failures),
        )
        for node in of.nodes
    ]
    return "\n".join(
        [
            f"Mesh health {per_cent(of.mesh.health)}, {counts(of)}",
            *aligned_within([header, *rows], width, optional=(7, 9, 8, 4)),
        ]
    )


def dashboard(of: Report, recent: tuple[Alert, ...], minutes: int, width: int = 0) -> list[str]:
    """Write the dashboard, line by line.

    Args:
        of: the report.
        recent: the alerts to show.
        minutes: the time that they cover.
        width: cells of a line of the table; 0: nothing is cut.
    """
    header = ("", "node", "status", "response", "success", "score")
    rows = [
        (
            sign_of(node),
            node.name,
            status_of(node),
            response(node),
            per_cent(node.success_rate),
            _number(node.score),
        )
        for node in of.nodes
    ]
    watching = "nobody watches, last check " if of.mesh.stale else "last check "
    age = ago(of.mesh.last_check, of.at) if of.mesh.last_check else "never"
    return [
        f"{format_clock(of.at)} mesh health {per_cent(of.mesh.health)}, {counts(of)}, {watching}{age}",
        *aligned_within([header, *rows], width, optional=(4,)),
        *(f"🔇 {silences.described(each, of.at)}" for each in of.mesh.silences),
        *(
            f"👤 {node.name}: {acknowledged(node.acknowledged, of.at)}"
            for node in of.nodes
            if node.acknowledged
        ),
        *(f"🚧 {node.name} {drains(node)}" for node in of.nodes if node.draining),
        f"alerts of the last {minutes} min: {counted_by_level(recent)}",
        *indented(f"{format_clock(alert.at)} {one_line(alert)}" for alert in recent),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
