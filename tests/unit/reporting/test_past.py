"""The past in words: one line for one thing, hostile text shown as it is, 80 columns kept, no false 100 %."""

import unicodedata
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import NOON
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import EventKind, Incident, PastEvent, Period
from gpu_mesh.reporting import past, spreadsheets
from gpu_mesh.reporting.availability import by_node, figures
from gpu_mesh.text.table import cells

NAMES = {"a": "Node A", "b": "Node B"}


def event(at: float, kind: EventKind, words: str, node: str = "a") -> PastEvent:
    return PastEvent(NOON + at, kind, node, words)


def test_a_change_that_an_alert_says_is_told_once() -> None:
    told = past.events(
        [
            event(0, EventKind.STATUS, "degraded, was healthy: Timeout"),
            event(0.3, EventKind.ALERT, "⚠️ [WARNING] Node A: degraded: Timeout"),
            event(0.3, EventKind.STATUS, "degraded, was healthy: Timeout", "b"),
            event(90000, EventKind.STATUS, "healthy, was degraded"),
        ],
        NAMES,
        NOON,
        NOON + 100_000,
        UTC,
    )
    assert told.splitlines() == [
        "Since 2025-06-17 12:00 UTC (1 d 3 h):",
        "",
        "Tue 17 Jun",
        "  12:00:00  🔔  Node A  warning: degraded: Timeout",
        "  12:00:00  •   Node B  degraded, was healthy: Timeout",
        "",
        "Wed 18 Jun",
        "  13:00:00  •  Node A  healthy, was degraded",
    ]


def test_that_nothing_happened_is_said() -> None:
    assert "nothing happened" in past.events([], NAMES, NOON, NOON + 60, UTC)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ended": None, "repairs": 2}, "it lasts; 2 repairs so far"),
        (
            {"ended": NOON + 60, "repairs": 1, "mended": "ollama.service was restarted"},
            "mended: ollama.service",
        ),
        ({"ended": NOON + 60, "repairs": 1}, "came back after 1 repair; none was proved to help"),
        ({"ended": NOON + 60}, "came back without a repair"),
    ],
)
def test_how_an_incident_ended_is_told(fields: dict[str, object], said: str) -> None:
    each = Incident("a", NOON, cause=Cause.REFUSED, worst=Status.OFFLINE, detail="", **fields)  # type: ignore[arg-type]
    lines = past.incidents([each], NAMES, NOON, NOON + 600, UTC).splitlines()
    assert lines[2].endswith("Node A  offline  Connection refused")
    assert lines[3].strip().startswith(said)


@pytest.mark.parametrize("down", [0.0, 0.001, 1.0])
def test_a_share_that_is_less_than_all_never_reads_as_all(down: float) -> None:
    found = figures("a", [Period("a", 0, 1e6, watched=1e6, down=down)], [], 0)
    assert ("100.00%" in past.month("May", [found], found, NAMES)) is (down == 0)


@pytest.mark.parametrize("cause", Cause)
def test_a_cause_of_several_nodes_is_named_without_what_belongs_to_one(cause: Cause) -> None:
    each = Incident("a", NOON, NOON + 60, cause, Status.OFFLINE, "")
    found = figures("", [Period("a", NOON, 60, watched=60, down=60)], [each], NOON)
    said = past.month("May", [], found, {})
    assert "{" not in said
    assert CAUSES[cause].words.split("{")[0].removesuffix("port ") in said


# What no version of Unicode has assigned yet may be anything.
TEXT = st.text(st.characters(exclude_categories=("Cn", "Cs")), max_size=60)


@given(st.sampled_from([60, 80, 120]), TEXT, TEXT)
def test_no_line_is_wider_than_the_terminal_and_no_text_leaves_its_line(
    width: int, name: str, words: str
) -> None:
    names = {"a": name}
    events = [event(0, kind, words) for kind in EventKind]
    incident = Incident("a", NOON, NOON + 60, Cause.TIMEOUT, Status.OFFLINE, words, NOON + 9, 1, words)
    of = by_node(["a"], [Period("a", NOON, 60, watched=60, down=6)], [incident], NOON)
    texts = (
        past.events(events, names, NOON - 60, NOON + 60, UTC, width),
        past.incidents([incident], names, NOON, NOON + 600, UTC, width),
        past.statistics(of, of[0], names, 86400, width),
        past.month("November 2026, so far", of, of[0], names, width),
    )
    for most, text in zip((2 + len(EventKind), 4, 6, 9), texts, strict=True):
        lines = text.split("\n")
        assert len(lines) <= most, lines
        assert max(map(cells, lines)) <= width
        assert not any(
            unicodedata.category(letter) in ("Cc", "Zl", "Zp") for line in lines for letter in line
        )


def test_a_spreadsheet_takes_no_cell_for_a_formula() -> None:
    made = spreadsheets.events(
        [event(0, EventKind.STATUS, '=HYPERLINK("http://x")'), event(0, EventKind.STATUS, "-1")]
    )
    assert "\"'=HYPERLINK(" in made
    assert ",'-1" in made
