"""Writes a report for people: status, statistics, dashboard. Text without colour or cursor movement."""

from collections.abc import Iterable, Sequence

from gpu_mesh.alerting.alerts import one_line
from gpu_mesh.alerting.emergencies import describe_seen
from gpu_mesh.domain.alert import Acknowledgement, Alert
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Status
from gpu_mesh.reporting.report import NodeReport, Report, counted_by_level
from gpu_mesh.silences import silences
from gpu_mesh.text.commands import AS_IT_IS, Shell, typed
from gpu_mesh.text.humanize import ago, clock_time, lasted, plural
from gpu_mesh.text.table import aligned


def status_text(of: Report, log_tail: Sequence[str], start_command: str, where: Shell = AS_IT_IS) -> str:
    """Write the quick status.

    Args:
        of: the report.
        log_tail: the newest lines of the central log.
        start_command: the command that starts the monitor, shown when it does not run.
        where: where a person types the commands.
    """
    lines = [_monitor_line(of, start_command, installed=where.installed)]
    if of.mesh.emergency:
        lines += _emergency(of.mesh.emergency, of.at)
    if of.mesh.offline_since:
        long = lasted(" for {}", of.mesh.offline_since, of.at)
        lines.append(f"⚠️ The monitor itself is offline{long}: what follows is what was known before")
    if of.mesh.unprobed:
        lines.append(f"⚠️ The monitor could not probe {plural(of.mesh.unprobed, 'node')}; the log says why")
    if of.mesh.alert_urls == 0:
        see = typed("gpu-mesh alerts test", where)
        lines.append(f"⚠️ Nobody is told of anything: there is no URL that alerts go to; see: {see}")
    elif of.mesh.alerts_without_url:
        unsent = plural(of.mesh.alerts_without_url, "alert")
        see = typed("gpu-mesh alerts test", where)
        lines.append(f"⚠️ {unsent} reached nobody, because no URL wants them; see: {see}")
    if of.mesh.inventory_error:
        lines += [
            "⚠️ The inventory's newest edit is not in force:",
            *_indented(of.mesh.inventory_error.splitlines()),
        ]
    lines += _silences(of)
    rows = [
        (
            node.status.icon if node.enabled else "⏸",
            node.name,
            f":{node.port}" + (" (tunnel)" if node.tunnel else ""),
            str(node.status) if node.enabled else "disabled",
            _models(node),
            _response(node),
        )
        for node in of.nodes
    ]
    for node, row in zip(of.nodes, aligned(rows), strict=True):
        lines += [row, *_indented(_trouble(node, of.at))]
    if log_tail:
        lines += ["", "Recent log:", *_indented(log_tail)]
    return "\n".join(lines)


def _emergency(found: Emergency, now: float) -> list[str]:
    return [
        f"⚠️ Nothing can be saved{lasted(', for {}', found.since, now)}: {found.reason}",
        *_indented(
            [
                f"next: {found.next_step}",
                f"the newest check, {ago(found.at, now)}, saw: {describe_seen(found)}",
                "no node is repaired, and of alerts only this is sent; what follows is what was last saved",
            ]
        ),
    ]


def statistics(of: Report) -> str:
    """Write the statistics: figures of each node and of the mesh."""
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
            node.status.icon,
            node.name,
            str(node.status),
            _number(node.score),
            _per_cent(node.success_rate),
            _per_cent(node.success_rate_24h),
            _response(node),
            _milliseconds(node.usual_response_ms),
            str(len(node.models)) if node.answers else "–",
            str(len(node.loaded)) if node.answers else "–",
            str(node.consecutive_failures),
        )
        for node in of.nodes
    ]
    return "\n".join([f"Mesh health {_per_cent(of.mesh.health)}, {_counts(of)}", *aligned([header, *rows])])


def dashboard(of: Report, recent: tuple[Alert, ...], minutes: int) -> list[str]:
    """Write the dashboard, line by line.

    Args:
        of: the report.
        recent: the alerts to show.
        minutes: the time that they cover.
    """
    header = ("", "node", "status", "response", "success", "score")
    rows = [
        (
            node.status.icon,
            node.name,
            str(node.status),
            _response(node),
            _per_cent(node.success_rate),
            _number(node.score),
        )
        for node in of.nodes
    ]
    watching = "NOT WATCHING, last check " if of.mesh.stale else "last check "
    age = ago(of.mesh.last_check, of.at) if of.mesh.last_check else "never"
    return [
        f"{clock_time(of.at)} mesh health {_per_cent(of.mesh.health)}, {_counts(of)}, {watching}{age}",
        *aligned([header, *rows]),
        *_silences(of),
        *(
            f"👤 {node.name}: {_acknowledged(node.acknowledged, of.at)}"
            for node in of.nodes
            if node.acknowledged
        ),
        f"alerts of the last {minutes} min: {counted_by_level(recent)}",
        *_indented(f"{clock_time(alert.at)} {one_line(alert)}" for alert in recent),
    ]


def _monitor_line(of: Report, start_command: str, *, installed: bool) -> str:
    mesh = of.mesh
    if mesh.last_check is None and installed:
        return (
            f"⚪ The first check is due within {mesh.interval:g} s; if none comes, start it: {start_command}"
        )
    if mesh.last_check is None:
        return f"⚪ The monitor has not checked anything yet; start it: {start_command}"
    age = ago(mesh.last_check, of.at)
    waiting = f"{plural(mesh.alerts_waiting, 'alert')} not delivered yet" if mesh.alerts_waiting else ""
    if mesh.stale:
        stale = f"⚠️ STALE: nobody watches the mesh, the last check was {age}; start it: {start_command}"
        return f"{stale} · {waiting}" if waiting else stale
    runs = f"The monitor runs: checked {age}, every {mesh.interval:g} s"
    # Cron cannot be told from a person, so this does not say that nothing checks again.
    by_hand = f"Checked {age}, by hand or by cron; to watch every {mesh.interval:g} s: {start_command}"
    parts = [
        runs if mesh.watched else by_hand,
        _counts(of),
        f"health {_per_cent(mesh.health)}",
    ]
    return " · ".join(filter(None, (*parts, waiting)))


def _silences(of: Report) -> list[str]:
    return [f"🔇 {silences.described(each, of.at)}" for each in of.mesh.silences]


def _counts(of: Report) -> str:
    enabled = [node for node in of.nodes if node.enabled]
    healthy = sum(node.status is Status.HEALTHY for node in enabled)
    return f"{healthy} of {len(enabled)} nodes healthy"


def _trouble(node: NodeReport, at: float) -> list[str]:
    if not node.enabled:
        return []
    notes = [f"note: {note}" for note in node.notes]
    if node.cause is None:
        return [*([f"last repair at {node.last_recovery}"] if node.unproved else []), *notes]
    failures = (
        f" ({plural(node.consecutive_failures, 'failure')} in a row)" if node.consecutive_failures else ""
    )
    lines = [f"{node.detail}{failures}"]
    if node.last_recovery:
        lines.append(f"last repair at {node.last_recovery}")
    if node.recovering:
        lines.append("a recovery is under way")
    elif node.recovery_reason:
        lines.append(f"no repair now: {node.recovery_reason.partition(';')[0]}")
    if node.acknowledged:
        lines.append(_acknowledged(node.acknowledged, at))
    if node.alerts_muted:
        lines.append(f"alerts muted: {node.alerts_muted}")
    return [*lines, f"next: {node.next_step}", *notes]


def _acknowledged(given: Acknowledgement, at: float) -> str:
    reason = f": {given.reason}" if given.reason else ""
    return f"acknowledged by {given.author} {ago(given.at, at)}{reason}"


def _models(node: NodeReport) -> str:
    return plural(len(node.models), "model") if node.answers else "–"


def _response(node: NodeReport) -> str:
    return _milliseconds(node.response_ms if node.answers else None)


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"


def _per_cent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}%"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"   {line}" for line in lines]
