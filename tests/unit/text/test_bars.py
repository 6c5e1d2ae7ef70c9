"""Bars and sparks."""

import pytest

from gpu_mesh.text.bars import bar, spark


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0, "────"), (0.01, "━───"), (0.5, "━━──"), (0.99, "━━━━"), (1, "━━━━"), (7, "━━━━"), (-1, "────")],
)
def test_a_bar_is_filled_by_a_share_and_more_than_nothing_shows(share: float, expected: str) -> None:
    assert bar(share, 4) == expected


def test_a_spark_has_a_letter_for_each_value() -> None:
    assert spark([0, 50, 100, None, 999], 100) == "▁▅█·█"
    assert spark([0, None], 0) == "▁·"
