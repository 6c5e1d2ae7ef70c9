"""Defines what is kept outside the state while the state cannot be saved. Values only."""

from msgspec import Struct


class Emergency(Struct, frozen=True):
    """Checks in a row that could not save what they saw. Times are Unix seconds."""

    since: float  # of the first of them
    at: float  # of the newest
    checks: int
    reason: str
    next_step: str
    nodes: int = 0  # how many the newest check probed
    failing: tuple[str, ...] = ()  # those that do not serve, in words: ``iceland (timeout: no answer …)``
    waiting: int = 0  # alerts that are not delivered, with those that this check would have raised
