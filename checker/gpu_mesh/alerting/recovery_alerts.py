"""Decides which alerts the end of a recovery raises, and says them. Pure."""

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.domain.recovery import Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import advice, ladder
from gpu_mesh.planning.advice import _ENDED, LEFT_ALONE, step_after, step_now, tried
from gpu_mesh.text import humanize


def alert_of(node: Node, settings: Settings, before: NodeState, ending: RecoveryResult) -> Alert | None:
    """Return the alert that a recovery which did not help calls for, if any.

    1. What was declined is told of once in an incident: looking again shows the same. That somebody else
       repairs the node just now is no news.
    2. What failed or did not help is a warning while attempts remain.
    3. The last attempt calls for a person, once in an incident; the slow retries after it are quiet.

    Args:
        node: the node.
        settings: the monitor's.
        before: the node's state before the attempt was added to it.
        ending: the attempt.
    """
    if ending.outcome is Outcome.RECOVERED or ending.finding is Finding.LEASED:
        return None
    attempt = ending.attempt()
    cause = ending.cause or before.cause
    next_step = step_after(node, ending.finding, cause, ending.words)
    if ending.outcome is Outcome.DECLINED:
        notified = any(
            (past.outcome, past.finding) == (attempt.outcome, attempt.finding)
            for past in before.recovery.attempts
            if past.at >= before.incident_since
        )
        words = diagnose.describe_cause(cause, node) if cause else "asked for"
        what = "not rebuilt" if ending.action is Action.REBUILD_TUNNEL else "not restarted"
        text, level = f"{what}: {_with_what_was_found(words, ending.words)}", Level.ERROR
        if not before.failures:
            level = Level.WARNING  # it serves
        return None if notified else _alert(node, before, ending.at, level, cause, text, next_step)
    if before.recovery.called_at:
        return None
    after = replace(
        before, recovery=replace(before.recovery, claim=None, attempts=(*before.recovery.attempts, attempt))
    )
    step = ladder.step(node, settings, after)
    what = f"{advice.describe_action(ending.action, node, ending.playbook)} {_ENDED[ending.outcome]}"
    text = f"{what} (attempt {step.made} of {max(step.made, step.allowed)}): {ending.words}"
    if step.exhausted:
        return call(node, settings, after, ending.at, text, next_step)
    next_step = f"nothing yet: the next attempt is due at {humanize.format_clock(step.due)}; or {next_step}"
    return _alert(node, before, ending.at, Level.WARNING, cause, text, next_step)


def call(
    node: Node, settings: Settings, known: NodeState, now: float, text: str = "", next_step: str = ""
) -> Alert:
    """Return the alert that calls a person: nothing that is left to be tried is likely to help.

    Args:
        node: the node.
        settings: the monitor's.
        known: the node's state, all attempts in it.
        now: Unix seconds.
        text: what was tried last; "": the ladder had been used up before the node failed again.
        next_step: what a person can do; "": what the cause says.
    """
    step = ladder.step(node, settings, known)
    again = (
        ""
        if step.over
        else f"; tried again every {humanize.format_duration(settings.recovery_slow_retry)} meanwhile"
    )
    text = text or f"failed again after {humanize.plural(step.made, 'repair')} of late: {known.detail}"
    next_step = next_step or step_now(node, known)
    alert = _alert(node, known, now, Level.CRITICAL, known.cause, f"needs you: {text}", f"{next_step}{again}")
    return replace(alert, tried=tried(node, known))


def is_call(alert: Alert) -> bool:
    """Tell whether an alert about a recovery calls a person."""
    return alert.level is Level.CRITICAL


def _alert(
    node: Node, before: NodeState, now: float, level: Level, cause: Cause | None, text: str, step: str
) -> Alert:
    return alerts.node_alert(
        node,
        now,
        level,
        AlertKind.RECOVERY,
        text=text,
        next_step=step,
        status=before.status,
        cause=cause,
        since=before.incident_since,
    )


def _with_what_was_found(words: str, found: str) -> str:
    """Add to a cause what a look found that declined; what is said already is not said again."""
    more, start = LEFT_ALONE.sub("", found), words.partition(",")[0]
    return words + more.removeprefix(start) if more.startswith(start) else f"{words}: {more}"
