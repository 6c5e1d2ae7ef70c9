"""What text from outside becomes, before it is shown in a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.text.sanitize import one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\ntwo\r\n three", "one two three"),
        ("a\x00b\x1b[31mc", "a b [31mc"),
        ("a\u202eb\u200bc", "abc"),
        ("a\u3000\u00a0b", "a b"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        (
            "private \ue800, unassigned \u0378, refused by XML \uffff",
            "private \ufffd, unassigned \ufffd, refused by XML \ufffd",
        ),
        ("x" * 81, "x" * 79 + "…"),
        ("", ""),
    ],
)
def test_text_from_outside_becomes_one_visible_line(text: str, line: str) -> None:
    assert one_line(text, 80) == line


@given(
    st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cn", "Co", "Zl", "Zs"])),
    st.integers(1, 100),
)
def test_whatever_comes_what_is_shown_is_printable_short_and_the_same_when_made_so_again(
    text: str, limit: int
) -> None:
    line = one_line(text, limit)
    assert line.replace("\u200d", "").isprintable()
    assert len(line) <= limit
    assert one_line(line, limit) == line
