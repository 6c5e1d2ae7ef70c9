"""Times in UTC within a text become times of the reader's zone, by the rules of their day."""

from zoneinfo import ZoneInfo

import pytest

from factories import NOON
from gpu_mesh.text.zones import localized, name_of

BERLIN = ZoneInfo("Europe/Berlin")
WINTER = NOON + 183 * 86400


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("due at 14:05 UTC, or later", NOON, "due at 16:05 CEST, or later"),
        ("due at 14:05 UTC", WINTER, "due at 15:05 CET"),
        ("at 14:05:09 UTC: it helped", NOON, "at 16:05:09 CEST: it helped"),
        ("until 2025-12-24 23:30 UTC, by anna", NOON, "until 2025-12-25 00:30 CET, by anna"),
        ("since 2025-06-18 14:05:09 UTC", WINTER, "since 2025-06-18 16:05:09 CEST"),
        (
            "99:99 UTC and 2025-02-31 10:00 UTC are no times",
            NOON,
            "99:99 UTC and 2025-02-31 10:00 UTC are no times",
        ),
        ("9999-12-31 23:59 UTC", NOON, "9999-12-31 23:59 UTC"),
        ("UTC is a zone, 14:05 is a time", NOON, "UTC is a zone, 14:05 is a time"),
    ],
)
def test_each_time_in_utc_is_moved(text: str, now: float, expected: str) -> None:
    assert localized(text, BERLIN, now) == expected


def test_the_zone_is_named_as_it_is_then() -> None:
    assert (name_of(BERLIN, NOON), name_of(BERLIN, WINTER)) == ("CEST", "CET")
