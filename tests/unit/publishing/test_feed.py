"""The feed: well formed whatever is in it; an incident has one identity."""

from xml.etree import ElementTree

from msgspec.structs import replace

import pages
from factories import NOW
from gpu_mesh.publishing import feed, view
from gpu_mesh.publishing.past import Past
from pages import HOSTILE

ATOM = "{http://www.w3.org/2005/Atom}"


def test_nothing_from_outside_is_markup_in_the_feed_which_stays_well_formed() -> None:
    whole = ElementTree.fromstring(feed.atom(pages.hostile(), HOSTILE))
    entries = whole.findall(f"{ATOM}entry")
    assert len(entries) == 3
    assert entries[0].find(f"{ATOM}title").text.startswith("</title><script>alert(1)</script>\"' onload=x")


def test_an_incident_keeps_its_identity_in_the_feed_when_it_ends() -> None:
    def entry(ended: float | None) -> tuple[str, str]:
        past = Past(incidents=(replace(pages.past(1).incidents[0], ended=ended),))
        found = ElementTree.fromstring(feed.atom(view.page(pages.mesh(1), past), "m")).find(f"{ATOM}entry")
        return found.find(f"{ATOM}id").text, found.find(f"{ATOM}content").text

    (before, lasts), (after, over) = entry(None), entry(NOW - 100)
    assert before == after
    assert lasts == "not over yet"
    assert over.startswith("over after 2 d ")


def test_two_monitors_have_feeds_of_different_identities() -> None:
    shown = view.page(pages.mesh(1), pages.past(1))
    assert feed.atom(shown, "a") != feed.atom(shown, "b")
