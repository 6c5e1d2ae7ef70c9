"""Decides which alert the end of a recovery raises, and words it. Pure."""

from msgspec.structs import replace

from gpu_mesh.alerting import alerts
from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.domain.recovery import HELPED, REFUSED, Attempt, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeState
from gpu_mesh.planning import advice, ladder, reboots
from gpu_mesh.planning.advice import step_after, step_now, tried, without_left_alone
from gpu_mesh.text import humanize

LEASED_LONG = 900.0
"""Seconds after which people are told that somebody else's lease keeps this monitor away from a node."""


def alert_of(node: Node, settings: Settings, before: NodeState, result: RecoveryResult) -> Alert | None:
    """Return the alert about a recovery that did not help, or that reboots the host; None: no alert.

    1. A repair that was declined is alerted once in an incident, because another look would find the same.
       While somebody else is repairing the node there is no alert, until that has lasted too long; nor is
       there one for a look that must be made twice.
    2. Where the GPU is at fault, no attempt is left to wait for: a person is called at once.
    3. A repair that failed or did not help is a warning while attempts remain.
    4. The last attempt calls a person, once in an incident. The slow retries after it raise no alert.

    Args:
        node: the node.
        settings: the monitor's.
        before: the node's state before the attempt was added to it.
        result: how the attempt ended.
    """
    if result.action is Action.REBOOT_HOST and result.outcome is Outcome.UNPROVED:
        return _outage(node, before, result)
    if result.outcome in HELPED or result.finding is Finding.GPU_UNCLEAR:
        return None
    attempt = result.attempt()
    cause = result.cause or before.cause
    next_step = step_after(node, result.finding, cause, result.words)
    if result.outcome is Outcome.DECLINED:
        if not _is_news(before, attempt):
            return None
        words = diagnose.describe_cause(cause, node) if cause else "asked for"
        what = _NOT_DONE.get(result.action, "not restarted")
        text, level = f"{what}: {_with_what_was_found(words, result.words)}", Level.ERROR
        if before.failures and cause and _calls(cause, result):
            called = replace(before, cause=cause, refined_from=before.probed_cause)
            return call(node, settings, called, result.at, text, next_step)
        if not before.failures:
            level = Level.WARNING  # it serves
        return _alert(node, before, result.at, level, cause, text, next_step)
    if before.recovery.called_at:
        return None
    after = replace(
        before, recovery=replace(before.recovery, claim=None, attempts=(*before.recovery.attempts, attempt))
    )
    step = ladder.step(node, settings, after)
    what = advice.describe_action(result.action, node, result.playbook)
    came = advice.describe_outcome(result.outcome)
    text = f"{what} {came} (attempt {step.made} of {max(step.made, step.allowed)}): {result.words}"
    if step.exhausted or result.action.repairs_gpu:
        return call(node, settings, after, result.at, text, next_step)
    next_step = f"nothing yet: the next attempt is due at {humanize.format_clock(step.due)}; or {next_step}"
    return _alert(node, before, result.at, Level.WARNING, cause, text, next_step)


def _calls(cause: Cause, result: RecoveryResult) -> bool:
    """Return whether a declined repair of a failing node calls a person at once.

    A host that refuses a repair of its GPUs would again. One that is at work is asked again.
    """
    if result.action.repairs_gpu and result.finding is Finding.AT_WORK:
        return False
    return CAUSES[cause].calls or result.finding.value in REFUSED


_NOT_DONE = {
    Action.REBUILD_TUNNEL: "not rebuilt",
    Action.RELOAD_GPU_MODULE: "not reloaded",
    Action.RESET_GPU: "not reset",
    Action.REBOOT_HOST: "not rebooted",
}


def _outage(node: Node, before: NodeState, result: RecoveryResult) -> Alert:
    """Return the alert that announces the planned outage of a reboot."""
    back = humanize.format_clock(result.at + reboots.EXPECTED_BACK)
    what = advice.describe_action(result.action, node)
    text = f"{what} has begun, expected back by {back}: {result.words}"
    step = "nothing yet: if it does not come back in time, you are called"
    return _alert(node, before, result.at, Level.INFO, result.cause or before.cause, text, step)


def _is_news(before: NodeState, declined: Attempt) -> bool:
    """Return whether nobody was told in this incident why a repair is declined.

    That somebody else repairs the node is news once it has lasted longer than two repairs: his monitor may be
    dead, or he may only want to be in the way.
    """
    past = [
        each.at
        for each in before.recovery.attempts
        if each.at >= before.incident_since
        and (each.outcome, each.finding) == (declined.outcome, declined.finding)
    ]
    if declined.finding != Finding.LEASED.value:
        return not past
    return bool(past) and past[-1] - past[0] < LEASED_LONG <= declined.at - past[0]


def call(
    node: Node, settings: Settings, known: NodeState, now: float, text: str = "", next_step: str = ""
) -> Alert:
    """Return the alert that calls a person: no repair that is left is likely to help.

    Args:
        node: the node.
        settings: the monitor's.
        known: the node's state, with all attempts in it.
        now: Unix seconds.
        text: what was tried last; "": all attempts were used up before the node failed again.
        next_step: what a person can do; "": the cause's next step.
    """
    step = ladder.step(node, settings, known)
    again = (
        ""
        if step.over or step.rung.action is Action.NONE
        else f"; tried again every {humanize.format_duration(settings.recovery_slow_retry)} meanwhile"
    )
    text = text or f"{_what_remains(known, step.made, now)}: {known.detail}"
    next_step = next_step or step_now(node, known)
    alert = _alert(node, known, now, Level.CRITICAL, known.cause, f"needs you: {text}", f"{next_step}{again}")
    return replace(alert, tried=tried(node, known))


def _what_remains(known: NodeState, repairs: int, now: float) -> str:
    """Say that a node failed again after repairs that had helped, or that it has failed all the while."""
    if known.recovery.reboot:
        return f"did not come back after the reboot at {humanize.format_clock(known.recovery.reboot.at)}"
    counting = ladder.counting(known)
    if any(each.helped or each.at < known.incident_since for each in counting):
        # Where nothing is left to be tried, those that helped are not among the attempts made.
        number = repairs or ladder.acted(counting)
        return f"failed again after {humanize.plural(number, 'recent repair')}"
    # With a GPU at fault the incident may have begun long before the node failed.
    since = known.failing_since if known.cause and known.cause.is_of_gpu else known.incident_since
    return f"still {known.status}{humanize.lasted(', for {}', since, now)}"


def is_call(alert: Alert) -> bool:
    """Return whether the alert calls a person."""
    return alert.kind is AlertKind.RECOVERY and alert.level is Level.CRITICAL


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
        since=before.cause_since or before.incident_since,
    )


def _with_what_was_found(words: str, found: str) -> str:
    """Add what the look found to the words for a cause, without repeating what they already say."""
    more, start = without_left_alone(found), words.partition(",")[0]
    if more.startswith(words):
        return more
    return words + more.removeprefix(start) if more.startswith(start) else f"{words}: {more}"
