"""The badges: nothing from outside is markup, and no old news are told."""

from xml.etree import ElementTree

from msgspec.structs import replace

import pages
from gpu_mesh.publishing import badges, view
from pages import HOSTILE


def test_nothing_from_outside_is_markup_in_a_badge() -> None:
    shown = pages.mesh(1)
    text = badges.of_node(replace(shown.nodes[0], name=HOSTILE), shown.mesh)
    assert text.startswith(badges.MARK)
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<script" not in text


def test_a_badge_says_unknown_while_nobody_watches() -> None:
    shown = pages.mesh(1)
    assert "<title>Vengeance: healthy</title>" in badges.of_node(shown.nodes[0], shown.mesh)
    stale = replace(shown.mesh, stale=True)
    old = badges.of_node(shown.nodes[0], stale)
    assert "<title>Vengeance: unknown</title>" in old
    assert "#1a7f4b" not in old, "it is green no longer"
    assert "<title>GPU mesh: unknown</title>" in badges.of_mesh(view.headline(replace(shown, mesh=stale)))
