"""Walks a node's status from check to check. Pure: a state and one diagnosis in, the next state out."""

from msgspec.structs import replace

from gpu_mesh.diagnosis import flapping, uptime
from gpu_mesh.diagnosis.diagnose import is_loading
from gpu_mesh.domain.alert import Notified
from gpu_mesh.domain.causes import Cause, Diagnosis
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.observation import Observation, expiries, has_moved
from gpu_mesh.domain.recovery import Attempt
from gpu_mesh.domain.state import NodeState

ATTEMPTS_REMEMBERED = 3600.0
"""Seconds for which the recoveries of an incident that is over still count."""

REPAIRS_OF_IMPAIRMENTS_REMEMBERED = 86400.0
"""The same for those of a node that served: an impairment comes and goes with the models that are loaded."""


def next_status(node: Node, before: NodeState, seen: Observation, diagnosis: Diagnosis) -> NodeState:
    """Return the node's state after one more check.

    1. A failed check is one more consecutive failure, and ends the row of served ones.
    2. A served check (ok or impaired) is one more in that row; the failures are forgotten once the row is as
       long as the node's healthy threshold.
    3. The status follows from the failures left: from the offline threshold offline, from the unhealthy one
       unhealthy, from one on degraded.
    4. Without failures, an impaired check makes it degraded, an ok one healthy. An impairment never climbs.
    5. A cause that a look on the host has made precise stays so while the probe shows what it showed then.
    6. An incident opens when the status leaves healthy (or unknown) and closes when it is healthy.
    7. What began in the future did so before the clock was set back, and counts from this check.
    """
    failed = diagnosis.verdict is Verdict.FAILED
    served = 0 if failed else before.served + 1
    failures = 0 if served >= node.healthy_threshold else before.failures + failed
    impaired = before.impaired + 1 if diagnosis.verdict is Verdict.IMPAIRED else 0
    status = _status(node, failures, impaired)
    healthy = status is Status.HEALTHY
    refined = diagnosis.cause is not None and diagnosis.cause is before.refined_from
    probed = before.refined_from or before.cause
    turned = before.checks > 0 and failed is not (before.verdict is Verdict.FAILED)
    turns = flapping.add(before.turns, turned=turned)
    counted = uptime.count(before, diagnosis.verdict, seen.at)
    state = replace(
        before,
        status=status,
        since=min(before.since, seen.at) if status is before.status else seen.at,
        verdict=diagnosis.verdict,
        cause=before.cause if refined else diagnosis.cause,
        refined_from=before.refined_from if refined else None,
        detail=before.detail if refined else diagnosis.detail,
        cause_since=(
            0.0
            if diagnosis.cause is None
            else min(before.cause_since or seen.at, seen.at)
            if diagnosis.cause is probed
            else seen.at
        ),
        failures=failures,
        failing_since=min(before.failing_since or seen.at, seen.at) if failures else 0.0,
        served=served,
        impaired=impaired,
        incident_since=0.0 if healthy else min(before.incident_since or seen.at, seen.at),
        notified=_by_this_clock(before.notified, seen.at) if before.notified else None,
        turns=turns,
        flapping=flapping.is_flapping(turns, before=before.flapping),
        attempts=_recent(before.attempts, seen.at) if healthy else before.attempts,
        called_at=0.0 if healthy else before.called_at,
        first_check=before.first_check or seen.at,
        last_check=seen.at,
        checks=counted.checks,
        successes=counted.successes,
        score_weight=counted.score_weight,
        score_value=counted.score_value,
        hour=counted.hour,
        hourly_checks=counted.hourly_checks,
        hourly_successes=counted.hourly_successes,
    )
    return state if failed else _with_answer(state, before, seen, diagnosis)


def _recent(attempts: tuple[Attempt, ...], now: float) -> tuple[Attempt, ...]:
    """Keep what was tried lately: a node that fails again after each repair is not repaired without end.

    The attempt that a probe has just proved ended after that probe began, so it lies a little in the future.
    """
    return tuple(
        attempt
        for attempt in attempts
        if abs(now - attempt.at)
        < (REPAIRS_OF_IMPAIRMENTS_REMEMBERED if attempt.for_impairment else ATTEMPTS_REMEMBERED)
    )


def _by_this_clock(notified: Notified, now: float) -> Notified:
    """Let a time in the future, which was noted before the clock was set back, count from now."""
    if max(notified.at, notified.since) <= now:
        return notified
    return replace(notified, at=min(notified.at, now), since=min(notified.since, now))


def _status(node: Node, failures: int, impaired: int) -> Status:
    if failures >= node.offline_threshold:
        return Status.OFFLINE
    if failures >= node.unhealthy_threshold:
        return Status.UNHEALTHY
    return Status.DEGRADED if failures or impaired else Status.HEALTHY


def _with_answer(state: NodeState, before: NodeState, seen: Observation, diagnosis: Diagnosis) -> NodeState:
    """Remember what a node that answered said of itself; what a failed one said before stays."""
    loading = is_loading(seen)
    served = has_moved(before.expiries, seen.loaded, seen.at - before.last_check)
    return replace(
        state,
        last_ok=seen.at if diagnosis.verdict is Verdict.OK else before.last_ok,
        response_ms=seen.tags.ms,
        usual_ms=uptime.usual_ms(before, seen.tags.ms, slow=diagnosis.cause is Cause.SLOW),
        models=seen.models,
        had_models=len(seen.models) or before.had_models,
        loaded=before.loaded if loading else tuple(model.name for model in seen.loaded),
        loading_since=(before.loading_since or seen.at) if loading else 0.0,
        expiries=before.expiries if loading else expiries(seen.loaded),
        deep_at=seen.at if seen.deep or served else before.deep_at,
        version=seen.version or before.version,
        version_at=seen.at if seen.version else before.version_at,
    )
