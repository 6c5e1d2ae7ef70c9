"""Says how long something lasted, for people."""

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def in_words(seconds: float) -> str:
    """Return the duration in its two largest units: ``45 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    left -= left % 60
    parts = []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
