"""Decides whether a node flaps, by the measure of Icinga 2: weighted turns among the last 20 checks. Pure.

https://icinga.com/docs/icinga-2/latest/doc/08-advanced-topics/#check-flapping
"""

REMEMBERED = 20
"""Checks."""

IN, OUT = 30.0, 25.0
"""Per cent: a node flaps from the one on, until it falls below the other."""


def add(turns: int, *, turned: bool) -> int:
    """Put the newest check in as bit 0: whether it failed where the one before served, or the reverse."""
    return (turns << 1 | turned) & ((1 << REMEMBERED) - 1)


def per_cent(turns: int) -> float:
    """Return the measure, 0 to 99: the newest turn weighs 1.18, and each older one 0.02 less."""
    weights = (1.18 - 0.02 * age for age in range(REMEMBERED) if turns >> age & 1)
    return 100 * sum(weights) / REMEMBERED


def is_flapping(turns: int, *, before: bool) -> bool:
    """Tell whether the node flaps now, given whether it did before."""
    return per_cent(turns) >= (OUT if before else IN)
