"""What is wrong with the monitor itself stands in every view, in the same words."""

from datetime import UTC

import pytest
from msgspec.structs import replace

import pages
from factories import NOW
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.publishing import view
from gpu_mesh.publishing.past import Past
from gpu_mesh.reporting import live, status
from gpu_mesh.reporting.live import Screen
from gpu_mesh.reporting.live_view import View

WRONG = [
    (
        {"emergency": Emergency(NOW - 60, NOW - 5, 3, "the disk is full", "free some")},
        ("Nothing can be saved, for 1 min: the disk is full", "next: free some", "what was last saved"),
    ),
    ({"offline_since": NOW - 60}, ("The monitor itself is offline for 1 min: ",)),
    ({"unprobed": 2}, ("The monitor could not probe 2 nodes; its log says why",)),
    (
        {"too_slow": True, "check_seconds": 47.3},
        (
            "Checks take longer than their interval: the last took 47.3 s, one is due every 30 s",
            "raise mesh_monitor_check_interval",
        ),
    ),
    ({"alert_urls": 0}, ("Nobody is told of anything: there is no URL that alerts go to",)),
    ({"alerts_without_url": 2}, ("2 alerts reached nobody, because no URL wants them",)),
    ({"history_error": "it is locked"}, ("The history is not written: it is locked",)),
    (
        {"inventory_error": "hosts:\n  no node"},
        ("The inventory's newest edit is not in force", "hosts:", "no node"),
    ),
]


@pytest.mark.parametrize(("known", "words"), WRONG, ids=[next(iter(known)) for known, _ in WRONG])
def test_each_thing_that_is_wrong_with_the_monitor_stands_in_every_view(
    known: dict[str, object], words: tuple[str, ...]
) -> None:
    told = pages.mesh(2)
    told = replace(told, mesh=replace(told.mesh, **known))
    lines = live.frame(Screen(told, {}, 500, 20, UTC), View())
    texts = {
        "status": status.status_text(told),
        "top": "\n".join("".join(part.text for part in line) for line in lines),
        "page": "\n".join(view.page(told, Past()).notices),
    }
    missing = {(name, each) for name, text in texts.items() for each in words if each not in text}
    assert not missing
