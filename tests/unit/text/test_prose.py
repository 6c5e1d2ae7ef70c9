"""Lines fit the terminal, and what people paste stays in one piece."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_mesh.text.prose import laid_out
from gpu_mesh.text.table import cells

COMMAND = "gpu-mesh -i '/srv/my hosts.yml' --state-dir /var/lib/elsewhere silence end 17"


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        ("short enough", 80, ["short enough"]),
        ("nothing is cut into a pipe", 0, ["nothing is cut into a pipe"]),
        ("one two three four five six", 23, ["one two three four", "   five six"]),
        ("   next: check power and the switch", 29, ["   next: check power and", "      the switch"]),
        ("\x1b[31mred words that are too long\x1b[0m", 10, ["\x1b[31mred words that are too long\x1b[0m"]),
        (" " * 100, 40, [" " * 100]),
    ],
)
def test_a_line_is_broken_between_words_and_the_rest_of_it_stands_further_right(
    line: str, width: int, expected: list[str]
) -> None:
    assert laid_out(line, width) == expected


def test_a_command_that_is_wider_than_the_terminal_stands_whole_on_a_line_of_its_own() -> None:
    lines = laid_out(f"To end it early: {COMMAND}; it ends by itself otherwise", 60)
    assert lines == ["To end it early:", f"   {COMMAND};", "   it ends by itself otherwise"]


@given(
    st.lists(st.sampled_from(["it", "fails", "日本語", COMMAND, "journalctl -u gpu-mesh-check;", "x" * 90])),
    st.integers(0, 8),
    st.integers(40, 120),
)
def test_no_word_is_lost_and_only_what_cannot_be_broken_is_wider(
    words: list[str], indent: int, width: int
) -> None:
    line = " " * indent + " ".join(words)
    lines = laid_out(line, width)
    assert " ".join(" ".join(lines).split()) == " ".join(words)
    for part in lines:
        whole = part.strip()
        assert cells(part) <= width or whole.startswith(("gpu-mesh", "journalctl", "x")), part
