"""Which nodes of a large mesh are asked for more in one check."""

import pytest

from gpu_mesh.monitor.turns import AT_ONCE, Turns

KEYS = [f"node{number}" for number in range(10 * AT_ONCE)]
EVERY = 3600.0


def asked(tick: int, waited: float, keys: list[str] = KEYS) -> set[str]:
    turns = Turns(len(keys), 1_800_000_000.0 + 30 * tick, 30.0)
    return {key for key in keys if turns.has(key, waited, EVERY)}


def test_at_the_first_check_of_a_large_mesh_about_as_many_as_at_once_are_asked() -> None:
    assert 0.8 * AT_ONCE < len(asked(0, 1_800_000_000.0)) < 1.2 * AT_ONCE


def test_after_as_many_checks_as_there_are_parts_each_was_asked_once() -> None:
    each = [asked(tick, 2 * EVERY) for tick in range(10)]
    assert set().union(*each) == set(KEYS)
    assert sum(map(len, each)) == len(KEYS)


@pytest.mark.parametrize(
    ("waited", "keys"), [(EVERY, KEYS), (1e9, KEYS[:AT_ONCE]), (1e9, KEYS[:1]), (1e9, [])]
)
def test_all_are_asked_that_are_not_late_or_where_they_are_few(waited: float, keys: list[str]) -> None:
    assert asked(3, waited, keys) == set(keys)
