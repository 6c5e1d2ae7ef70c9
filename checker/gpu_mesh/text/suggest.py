"""Finds the word that was meant by one that is nearly right. Pure."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], *, similar: float = 0.6) -> str:
    """Return the known word that is most like this one; "" where none is similar enough (0 to 1)."""
    found = difflib.get_close_matches(word, list(known), n=3, cutoff=similar)
    swapped = [each for each in found if sorted(each) == sorted(word)]  # stauts: status, not stats
    return next(iter([*swapped, *found]), "")


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a question for the end of a message; where no word is similar, what is said otherwise."""
    near = nearest(word, known)
    return f"did you mean {near}?" if near else otherwise
