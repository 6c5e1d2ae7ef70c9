"""Computes what people ask about a time: availability, response times, incidents, repairs. Pure.

Availability is 1 − down ÷ watched: what nobody watched counts neither way. A percentile comes from classes of
response times, each twice as wide as the one before it, and is interpolated within its class.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.history import BOUNDS, Incident, Period


class CauseShare(Struct, frozen=True):
    """How much of the trouble had one cause."""

    cause: Cause | None  # None: it was never named
    incidents: int
    seconds: float  # that they lasted together


class Figures(Struct, frozen=True):
    """Figures of a node, or of the whole mesh, over some time, in seconds. None: nothing was counted."""

    node: str  # key; "": all nodes
    availability: float | None  # per cent
    watched: float
    down: float
    impaired: float
    p50_ms: float | None
    p95_ms: float | None
    max_ms: float | None
    incidents: int
    longest: float | None  # incident
    mean_to_detect: float | None  # from its beginning to the first alert
    mean_to_repair: float | None  # from its beginning to its end
    repairs: int  # attempts that acted
    mended: int  # incidents that a repair ended
    causes: tuple[CauseShare, ...]  # the most time first


def figures(
    node: str, periods: Sequence[Period], incidents: Sequence[Incident], now: float, since: float = 0.0
) -> Figures:
    """Return the figures of these periods and incidents together.

    Args:
        node: the node's key; "": they are of all nodes.
        periods: what was counted.
        incidents: those that lasted at some moment of that time.
        now: Unix seconds, the end of the time that is asked for.
        since: its beginning. Of an incident only the part between the two counts, but for the mean times.
    """
    watched, down = sum(each.watched for each in periods), sum(each.down for each in periods)
    histogram = [sum(each.histogram[place] for each in periods) for place in range(len(BOUNDS) + 1)]
    most = max((each.ms_max for each in periods), default=0.0)
    lasted = [_within(each, since, now) for each in incidents]
    detected = [each.alerted - each.began for each in incidents if each.alerted is not None]
    over = [each.ended - each.began for each in incidents if each.ended is not None]
    return Figures(
        node=node,
        availability=100 * (1 - down / watched) if watched else None,
        watched=watched,
        down=down,
        impaired=sum(each.impaired for each in periods),
        p50_ms=percentile(histogram, 0.5, most),
        p95_ms=percentile(histogram, 0.95, most),
        max_ms=most if sum(histogram) else None,
        incidents=len(incidents),
        longest=max(lasted, default=None),
        mean_to_detect=_mean(detected),
        mean_to_repair=_mean(over),
        repairs=sum(each.repairs for each in incidents),
        mended=sum(bool(each.mended) for each in incidents),
        causes=_causes(incidents, since, now),
    )


def by_node(
    nodes: Sequence[str],
    periods: Sequence[Period],
    incidents: Sequence[Incident],
    now: float,
    since: float = 0.0,
) -> tuple[Figures, ...]:
    """Return the figures of each of these nodes, in their order; the arguments are as of ``figures``."""
    of_periods: dict[str, list[Period]] = {}
    of_incidents: dict[str, list[Incident]] = {}
    for period in periods:
        of_periods.setdefault(period.node, []).append(period)
    for incident in incidents:
        of_incidents.setdefault(incident.node, []).append(incident)
    return tuple(
        figures(key, of_periods.get(key, []), of_incidents.get(key, []), now, since) for key in nodes
    )


def percentile(histogram: Sequence[int], share: float, most: float) -> float | None:
    """Return the response time (ms) that this share of the answers kept to; None: there was no answer.

    Args:
        histogram: answers by class of domain/history.py: BOUNDS.
        share: 0 to 1.
        most: the longest response time; no answer took longer.
    """
    total = sum(histogram)
    if not total:
        return None
    wanted, passed = share * total, 0
    for count, low, high in zip(histogram, (0.0, *BOUNDS), (*BOUNDS, most), strict=True):
        if count and passed + count >= wanted:
            top = max(min(high, most), low)
            return min(low + (top - low) * (wanted - passed) / count, top)
        passed += count
    return most


def worst_first(of: Sequence[Figures]) -> tuple[Figures, ...]:
    """Return the nodes with the lowest availability first; those that nobody watched last."""
    return tuple(
        sorted(of, key=lambda each: (each.availability is None, each.availability or 0.0, -each.impaired))
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _within(incident: Incident, since: float, until: float) -> float:
    """Return for how many seconds of that time it lasted."""
    return max(min(incident.ended or until, until) - max(incident.began, since), 0.0)


def _causes(incidents: Sequence[Incident], since: float, now: float) -> tuple[CauseShare, ...]:
    seconds: Counter[Cause | None] = Counter()
    for each in incidents:
        seconds[each.cause] += _within(each, since, now)  # type: ignore[assignment]
    numbers = Counter(each.cause for each in incidents)
    shares = (CauseShare(cause, numbers[cause], lasted) for cause, lasted in seconds.items())
    return tuple(sorted(shares, key=lambda share: (-share.seconds, share.cause or "")))
