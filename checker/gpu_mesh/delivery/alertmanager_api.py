"""Posts alerts to one Alertmanager, API v2, within one deadline and bounds of size. For alertmanager.py.

It uses the same bounded client as the probe: no redirect is followed, and no answer is read without end.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gpu_mesh.alerting.alertmanager_alerts import Labels, Outcome
from gpu_mesh.alerting.open_alerts import OpenAlert
from gpu_mesh.delivery.alertmanager_config import Alertmanager
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.http_client import Answer, Session
from gpu_mesh.text.sanitize import one_line

PATH = "/api/v2/alerts"

LIMIT = 20.0
"""Seconds that all posts of a run to one Alertmanager may take together."""

BATCH = 200
"""Alerts in one post: some hundred kilobytes, which every proxy lets through."""

_REASON_LIMIT = 200


class Ended(msgspec.Struct, frozen=True):
    """An alert that is over."""

    labels: Labels
    summary: str  # why, in one line


def post(
    to: Alertmanager,
    ended: Sequence[Ended],
    firing: Sequence[OpenAlert],
    now: float,
    until: float,
    *,
    trust_env: bool,
    limit: float = LIMIT,
) -> Outcome:
    """Post what is over as resolved, then what is open as firing; stop at the first post that fails.

    Args:
        to: the Alertmanager.
        ended: what is over.
        firing: what is open.
        now: Unix seconds.
        until: Unix seconds, when what is open ends by itself unless it is posted again.
        trust_env: whether a proxy named in the environment is used.
        limit: seconds for all of it.
    """
    items: list[tuple[Labels | None, dict[str, Any]]] = [
        (each.labels, _resolved(each, now)) for each in ended
    ]
    items += [(None, _firing(each, now, until)) for each in firing]
    accepted: list[Labels] = []
    headers = {"Authorization": to.authorization} if to.authorization else {}
    try:
        with Session(to.url, limit, headers=headers, ca_file=to.ca_file, trust_env=trust_env) as session:
            # With nothing to say it says so: that it is accepted shows that the Alertmanager is there.
            for begin in range(0, len(items), BATCH) or (0,):
                part = items[begin : begin + BATCH]
                answer = session.post(PATH, msgspec.json.encode([item for _, item in part]))
                if reason := _refusal(answer):
                    return Outcome(reason, tuple(accepted))
                accepted += [labels for labels, _ in part if labels is not None]
    except GetError as error:
        words = f"{error.fault.value}: {error.detail}" if error.detail else error.fault.value
        return Outcome(one_line(words, _REASON_LIMIT), tuple(accepted))
    return Outcome("", tuple(accepted))


def _refusal(answer: Answer) -> str:
    """Say why a post was not accepted; "": it was. The answer's own words may quote a secret."""
    if 300 <= answer.status < 400:
        to = urlsplit(answer.location)
        host = one_line(f"{to.scheme}://{to.netloc.rpartition('@')[2]}", 100)
        where = f" to {host}" if to.hostname else ""
        step = "none is followed; put the address it means into the file"
        return f"HTTP {answer.status}, a redirect{where}: {step}"
    if answer.status == 401:
        return "HTTP 401: it wants a login, or another one"
    return "" if answer.status < 300 else f"HTTP {answer.status}"


def _firing(alert: OpenAlert, now: float, until: float) -> dict[str, Any]:
    text = [
        alert.text,
        alert.tried and f"Tried: {alert.tried}",
        alert.next_step and f"Next: {alert.next_step}",
    ]
    return {
        "labels": alert.labels,
        "annotations": {
            "summary": alert.summary,
            "description": ". ".join(filter(None, text)),
            **alert.facts,
        },
        "startsAt": _moment(min(alert.since or now, now)),
        "endsAt": _moment(until),
    }


def _resolved(ended: Ended, now: float) -> dict[str, Any]:
    # Without startsAt, Alertmanager keeps the one that it knows.
    return {"labels": ended.labels, "annotations": {"summary": ended.summary}, "endsAt": _moment(now)}


def _moment(at: float) -> str:
    """Return a Unix time as RFC 3339 has it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
