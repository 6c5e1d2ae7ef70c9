"""Text as a terminal shows it: how wide it is, where it is cut and broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.text.table import aligned, cells, cut, fitted, wrapped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu1", 4),
        ("🟢", 2),
        ("名前", 4),
        ("e\u0301", 1),
        ("❤\ufe0f", 1),
        ("● ▲ ✖ ■ ○ ░ █ ▁", 15),
        ("", 0),
        ("a\u20dd", 1),
    ],
)
def test_a_text_is_as_wide_as_a_terminal_shows_it(text: str, expected: int) -> None:
    assert cells(text) == expected


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("llama3.2:3b", 11, "llama3.2:3b"),
        ("llama3.2:3b", 10, "llama3.2:…"),
        ("two words", 5, "two…"),
        ("名前名前", 5, "名前…"),
        ("名前名前", 4, "名…"),
        ("ab", 1, "…"),
        ("ab", 0, ""),
    ],
)
def test_what_does_not_fit_is_cut_visibly(text: str, width: int, expected: str) -> None:
    assert cut(text, width) == expected


def test_a_cell_of_a_table_has_exactly_its_width() -> None:
    assert fitted("45 ms", 8) == "45 ms   "
    assert fitted("45 ms", 8, right=True) == "   45 ms"
    assert fitted("名前名前", 6) == "名前… "


def test_words_are_wrapped_between_words_and_a_long_one_is_broken() -> None:
    assert wrapped("see on the monitor: journalctl", 10) == ["see on the", "monitor:", "journalctl"]
    assert wrapped("a abcdefghij b", 4) == ["a", "abcd", "efgh", "ij b"]
    assert wrapped("", 4) == []


@given(st.text(), st.integers(2, 30))
def test_no_line_is_wider_than_asked_and_no_letter_is_lost(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(), st.integers(0, 30))
def test_a_cell_is_as_wide_as_asked_whatever_is_in_it(text: str, width: int) -> None:
    assert cells(fitted(text, width)) == width


def test_columns_are_aligned_whatever_is_in_them() -> None:
    assert aligned([("🟢", "a", "x"), ("●", "名前", "y")]) == ["🟢  a     x", "●   名前  y"]
    assert aligned([]) == []
