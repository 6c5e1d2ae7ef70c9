"""Decides what the end of a recovery means: for the node's state, and for people, as an alert. Pure.

A recovery that helped is told of by the observation that proves it (monitor/tick.py); here are the others.
"""

import re

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.domain.state import Alert, AlertKind, Attempt, Claim, Level, NodeState, Outcome
from gpu_mesh.planning import advice, claims, ladder, plan
from gpu_mesh.planning.plan import Finding
from gpu_mesh.text import humanize


class Ending(Struct, frozen=True):
    """How one recovery ended."""

    at: float  # Unix seconds
    action: Action  # the last that was tried
    outcome: Outcome
    finding: Finding = Finding.NONE
    cause: Cause | None = None  # as refined by the look
    words: str = ""  # what was done or found, or why it did not work
    asked_for: Cause | None = None  # what a probe alone had called the cause
    playbook: str = ""  # the operator's own, an absolute path

    def attempt(self) -> Attempt:
        """Return what is remembered of it."""
        return Attempt(
            self.at,
            self.action,
            self.outcome,
            self.finding.value,
            self.words,
            self.asked_for,
            self.playbook,
        )


_NEXT_STEP = {
    Finding.UNIT_DISABLED: "if it should run: systemctl enable --now {unit} on the host of {node}; "
    "if not: mesh_node_enabled: false",
    Finding.UNIT_MISSING: "correct mesh_node_recovery or mesh_node_unit of {node}",
    Finding.CANNOT_LOOK: "install curl on the host of {node}",
    Finding.AT_WORK: "wait, for it is looked at again; or restart {unit} by hand all the same",
    Finding.LEASED: "wait, and see whether that helps: gpu-mesh status; where nobody is at work any more: "
    "rm -r /var/tmp/gpu-mesh-lease.d/{node}[.@]* there",
    Finding.CANNOT_LEASE: "make it anew on the host that it names: "
    "rm -r /var/tmp/gpu-mesh-lease.d; mkdir -m 1777 /var/tmp/gpu-mesh-lease.d",
}
"""What a person can do where the look, not the cause, says why nothing was done."""


def conclude(node: Node, before: NodeState, claim: Claim, ending: Ending) -> NodeState:
    """Give the node back, remember the attempt, and keep the cause that the look made precise."""
    after = claims.concluded(before, claim, ending.attempt())
    refined = ending.cause
    if refined is None or refined is before.cause or not before.failures:
        return after
    return replace(
        after,
        cause=refined,
        refined_from=before.refined_from or before.cause,
        detail=_detail(node, before, refined, ending),
    )


def alert_of(node: Node, settings: Settings, before: NodeState, ending: Ending) -> Alert | None:
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
        told = any(
            (past.outcome, past.finding) == (attempt.outcome, attempt.finding)
            for past in before.attempts
            if past.at >= before.incident_since
        )
        words = diagnose.in_words(cause, node) if cause else "asked for"
        what = "not rebuilt" if ending.action is Action.REBUILD_TUNNEL else "not restarted"
        text, level = f"{what}: {_with_what_was_found(words, ending.words)}", Level.ERROR
        if not before.failures:
            level = Level.WARNING  # it serves
        return None if told else _alert(node, before, ending.at, level, cause, text, next_step)
    if before.called_at:
        return None
    after = replace(before, claim=None, attempts=(*before.attempts, attempt))
    step = ladder.step(node, settings, after, ending.at)
    what = f"{plan.in_words_of(ending.action, node, ending.playbook)} {_ENDED[ending.outcome]}"
    text = f"{what} (attempt {step.made} of {max(step.made, step.allowed)}): {ending.words}"
    if step.exhausted:
        return call(node, settings, after, ending.at, text, next_step)
    next_step = f"nothing yet: the next attempt is due at {plan.clock(step.due)}; or {next_step}"
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
    step = ladder.step(node, settings, known, now)
    again = (
        ""
        if step.over
        else f"; tried again every {humanize.in_words(settings.recovery_slow_retry)} meanwhile"
    )
    text = text or f"failed again after {humanize.plural(step.made, 'repair')} of late: {known.detail}"
    next_step = next_step or step_now(node, known)
    alert = _alert(node, known, now, Level.CRITICAL, known.cause, f"needs you: {text}", f"{next_step}{again}")
    return replace(alert, tried=tried(node, known))


def is_call(alert: Alert) -> bool:
    """Tell whether an alert about a recovery calls a person."""
    return alert.level is Level.CRITICAL


def tried(node: Node, known: NodeState, since: float = 0.0) -> str:
    """Say what was tried since then (Unix seconds; 0.0: as far as it counts still), and how it ended."""
    counts: dict[str, dict[str, int]] = {}
    for attempt in known.attempts if since else ladder.counting(known):
        if attempt.at < since:
            continue
        found = attempt.words if attempt.outcome is Outcome.DECLINED else ""
        words = ": ".join(filter(None, (_ENDED[attempt.outcome], _LEFT_ALONE.sub("", found))))
        ended = counts.setdefault(plan.in_words_of(attempt.action, node, attempt.playbook), {})
        ended[words] = ended.get(words, 0) + 1
    return "; ".join(
        f"{what} {', '.join(_times(*each) for each in of.items())}" for what, of in counts.items()
    )


def _times(words: str, number: int) -> str:
    return f"{words} ({number} times)" if number > 1 else words


def in_words(outcome: Outcome) -> str:
    """Say how a recovery ended."""
    return _ENDED[outcome]


_ENDED = {
    Outcome.RECOVERED: "helped",
    Outcome.DECLINED: "was not tried",
    Outcome.FAILED: "failed",
    Outcome.NOT_RECOVERED: "did not help",
    Outcome.LOST: "was cut off",
}


def step_after(node: Node, finding: Finding, cause: Cause | None, words: str = "") -> str:
    """Say what a person can do after a recovery whose look found this, and that ended with these words."""
    if finding in _NEXT_STEP:
        return _NEXT_STEP[finding].format(unit=node.unit, node=node.key)
    usual = diagnose.next_step(cause, node) if cause else "see what is wrong with it: gpu-mesh status"
    return advice.correction(node, words, usual)


def step_now(node: Node, known: NodeState) -> str:
    """Say what a person can do about what is wrong with the node now, whatever the last look found."""
    return step_after(node, Finding.NONE, known.cause, ladder.last_words(node, known))


def _with_what_was_found(words: str, found: str) -> str:
    """Add to a cause what a look found that declined; what is said already is not said again."""
    more, start = _LEFT_ALONE.sub("", found), words.partition(",")[0]
    return words + more.removeprefix(start) if more.startswith(start) else f"{words}: {more}"


_LEFT_ALONE = re.compile(r"; nothing was (?:restarted|touched)\b")
"""What the playbooks add for whoever runs them by hand."""


def _detail(node: Node, before: NodeState, cause: Cause, ending: Ending) -> str:
    words = diagnose.in_words(cause, node)
    if ending.finding not in (Finding.HOST_DOWN, Finding.NO_ACCESS):
        return words
    found = f"{words} ({ending.words})" if ending.words else words
    # That the login fails is not what is wrong with the node.
    return f"{before.detail}; {found}" if cause is Cause.NO_ACCESS and not before.refined_from else found


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
