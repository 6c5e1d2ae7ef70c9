"""Decides whether a node flaps, as Icinga 2 does: by its weighted turns in the last 20 checks. Pure.

A turn is a failed check after a good one, or the reverse.
https://icinga.com/docs/icinga-2/latest/doc/08-advanced-topics/#check-flapping
"""

REMEMBERED = 20
"""Checks that count."""

IN, OUT = 30.0, 25.0
"""Per cent: a node starts to flap at ``IN``, and stops below ``OUT``."""


def add(turns: int, *, turned: bool) -> int:
    """Return the turns with the newest check as bit 0; the oldest check drops out.

    Args:
        turns: bit n is 1 if the check n before the last was a turn.
        turned: whether the newest check is a turn.
    """
    return (turns << 1 | turned) & ((1 << REMEMBERED) - 1)


def per_cent(turns: int) -> float:
    """Return the weighted turns in per cent, 0 to 99.

    A turn in the newest check weighs 1.18; with each check of age it weighs 0.02 less.
    """
    weights = (1.18 - 0.02 * age for age in range(REMEMBERED) if turns >> age & 1)
    return 100 * sum(weights) / REMEMBERED


def is_flapping(turns: int, *, before: bool) -> bool:
    """Return whether the node flaps now, given whether it did before."""
    return per_cent(turns) >= (OUT if before else IN)
