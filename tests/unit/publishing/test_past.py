"""What is shown of the past: the colour of a day, the bar of a node, the incidents."""

import pytest

from factories import NOW
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.history import Incident, Period
from gpu_mesh.publishing import past
from gpu_mesh.publishing.past import A_DAY, DAYS, Colour, Run
from pages import TODAY, day

COLOURS = [
    # watched, down, impaired: seconds of the day → its colour
    (86400, 0, 0, Colour.UP),
    (86400, 59, 0, Colour.UP),
    (86400, 60, 0, Colour.SLIGHT),
    (86400, 3599, 0, Colour.SLIGHT),
    (86400, 0, 3599, Colour.UP),
    (86400, 0, 3600, Colour.SLIGHT),
    (86400, 3600, 0, Colour.SOME),
    (86400, 21599, 0, Colour.SOME),
    (86400, 21600, 0, Colour.MUCH),
    (86400, 86400, 0, Colour.MUCH),
    (0, 0, 0, Colour.UNWATCHED),
    (3600, 0, 0, Colour.UP),
]


@pytest.mark.parametrize(("watched", "down", "impaired", "expected"), COLOURS)
def test_a_day_is_coloured_by_how_long_the_node_was_down(
    watched: float, down: float, impaired: float, expected: Colour
) -> None:
    assert past.colour(Period("gpu1", TODAY, A_DAY, watched, down, impaired)) is expected


def test_days_that_nobody_watched_count_neither_as_up_nor_as_down() -> None:
    shown = past.bar((day(1, 1, down=8640), day(1, 0)), NOW)
    runs = dict(shown.runs)
    assert runs[Colour.UNWATCHED] == (Run(0, DAYS - 2),)
    assert runs[Colour.SOME] == (Run(DAYS - 2, 1),)
    assert runs[Colour.UP] == (Run(DAYS - 1, 1),)
    watched = A_DAY + NOW - TODAY
    assert shown.served == pytest.approx(100 * (1 - 8640 / watched))
    assert shown.label.endswith("; 88 days not watched")


def test_the_bar_says_in_one_sentence_what_its_colours_show() -> None:
    whole = tuple(day(1, back) for back in range(DAYS))
    assert past.bar(whole, NOW).label == "Served 100% of 90 days; no day with trouble"
    bad = (*whole[2:], day(1, 1, down=7200), day(1, 0, impaired=3900))
    assert past.bar(bad, NOW).label == (
        "Served 99.90% of 90 days; 2 days with trouble, worst 14 Jan 2027: down for 2 h"
    )
    assert [mark.words for mark in past.bar(bad, NOW).marks] == [
        "14 Jan 2027: down for 2 h",
        "15 Jan 2027: impaired for 1 h 5 min",
    ]
    assert past.bar((), NOW).label == "Nobody watched in the last 90 days"


def test_what_is_older_than_the_bar_or_in_the_future_is_not_shown() -> None:
    shown = past.bar((day(1, DAYS, down=80000), day(1, -1, down=80000), day(1, 3)), NOW)
    assert set(dict(shown.runs)) == {Colour.UP, Colour.UNWATCHED}
    assert shown.served == 100


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (100.0, "100%"),
        (99.99999, "99.99%"),
        (99.5, "99.50%"),
        (0.0, "0.00%"),
        (0.001, "0.01%"),
    ],
)
def test_only_what_is_really_all_is_a_hundred_per_cent(value: float | None, words: str) -> None:
    assert past.per_cent(value) == words


def incident(began: float, ended: float | None) -> Incident:
    return Incident("gpu1", began, ended, Cause.REFUSED, Status.OFFLINE, "Connection refused")


def test_incidents_of_fourteen_days_are_shown_the_newest_first_and_one_that_lasts_always() -> None:
    old = incident(NOW - 16 * A_DAY, NOW - 14.1 * A_DAY)
    just = incident(NOW - 16 * A_DAY, NOW - 13.9 * A_DAY)
    lasts = incident(NOW - 40 * A_DAY, None)
    new = incident(NOW - 60, NOW - 30)
    assert past.shown_incidents((old, lasts, just, new), NOW) == (new, just, lasts)
