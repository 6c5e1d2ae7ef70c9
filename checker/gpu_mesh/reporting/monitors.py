"""Describes the monitors that share a mesh: for ``gpu-mesh cluster`` and for ``status``. Pure."""

from msgspec import Struct

from gpu_mesh.domain.cluster import Member, Role, Session, View
from gpu_mesh.domain.state import Shared
from gpu_mesh.text.humanize import ago
from gpu_mesh.text.table import aligned


class MonitorReport(Struct, frozen=True):
    """One monitor that lives."""

    name: str
    leads: bool
    version: str
    clock_ahead: float  # seconds by which its clock is ahead of the others'
    unfit: str  # why another one should rather lead; "": nothing speaks against it
    not_ready: tuple[str, ...]  # nodes whose tunnel does not stand on it


class MonitorsReport(Struct, frozen=True):
    """What ``cluster --json`` prints."""

    monitor: str  # this one
    role: Role  # of this one
    leader: str  # who leads, or led when etcd last answered; "": nobody
    monitors: tuple[MonitorReport, ...]  # those that live
    away: str  # why etcd cannot be used; "": it can
    answered_ago: float | None  # seconds since it last answered this monitor; None: not since boot
    apart_since: float | None  # since when this monitor goes on with a copy of its own


def monitors(
    monitor: str,
    role: Role,
    session: Session | None,
    view: View | None,
    away: str,
    shared: Shared | None,
    since_boot: float,
) -> MonitorsReport:
    """Describe the monitors.

    Args:
        monitor: this one.
        role: what it does now.
        session: what it last heard.
        view: what etcd shows; None: it does not answer.
        away: why not.
        shared: how its copy stands to the shared state.
        since_boot: seconds.
    """
    leader = view.leader if view else session.leader if session else ""
    return MonitorsReport(
        monitor=monitor,
        role=role,
        leader=leader,
        monitors=tuple(_monitor(each, leader) for each in view.members) if view else (),
        away=away,
        answered_ago=since_boot - session.answered if session and session.answered else None,
        apart_since=shared.apart_since or None if shared else None,
    )


def _monitor(member: Member, leader: str) -> MonitorReport:
    return MonitorReport(
        member.name,
        member.name == leader,
        member.version,
        round(member.ahead, 1),
        member.unfit,
        member.not_ready,
    )


ROLES = {
    Role.LEADER: "leads the mesh: it checks, alerts and repairs",
    Role.STANDBY: "stands by",
    Role.LEADER_ALONE: "goes on alone, as it led last: it checks, alerts and repairs",
    Role.ALONE: "watches alone, and repairs nothing: whoever led may do so, too",
}


def text(report: MonitorsReport, now: float) -> str:
    """Return the report for people.

    Args:
        report: what is known.
        now: Unix seconds.
    """
    lines = [f"This monitor, {report.monitor}, {ROLES[report.role]}."]
    if report.away:
        since = (
            "" if report.answered_ago is None else f"; it last answered {ago(now - report.answered_ago, now)}"
        )
        lines.append(f"etcd cannot be used{since}: {report.away}")
        lines.append(f"{report.leader} led then." if report.leader else "No leader is known.")
    elif not report.leader:
        lines.append("No monitor leads: nobody watches the mesh. See: journalctl -u gpu-mesh-lead")
    if report.apart_since:
        lines.append(f"What it noted since {ago(report.apart_since, now)} is its own, until etcd has it.")
    rows = [
        (each.name, "leads" if each.leads else "stands by", each.version, _words(each))
        for each in report.monitors
    ]
    if rows:
        lines += ["", *aligned(rows)]
    return "".join(f"{line}\n" for line in lines)


def _words(monitor: MonitorReport) -> str:
    words = [monitor.unfit] if monitor.unfit else []
    if monitor.not_ready:
        words.append(f"without a tunnel to {', '.join(monitor.not_ready)}")
    return "; ".join(words) or "ready"
