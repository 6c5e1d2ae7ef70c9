"""The page as text: nothing from outside is markup, nothing else is loaded, and it stays small."""

import re

import pytest

import pages
from gpu_mesh.publishing import page, view
from gpu_mesh.publishing.past import Past

LITERAL = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39; onload=x &amp; gpj."
MANY = {number: pages.OFFLINE if number % 2 else pages.DEGRADED for number in range(0, 1000, 97)}


def test_nothing_from_outside_is_markup_in_the_page() -> None:
    text = page.html(pages.hostile())
    assert text.count("<script") == 1
    assert "onload=x" not in text.replace(LITERAL, "")
    assert text.count(LITERAL) >= 10
    assert "\x00" not in text
    assert "\u202e" not in text


def test_the_policy_lets_only_the_pages_own_style_and_script_run() -> None:
    text = page.html(view.page(pages.mesh(2), Past()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert re.findall(r"<(?:link|script|img|iframe|object)[^>]*(?:src|href)=\"(?!data:|feed.xml)", text) == []
    assert "style=" not in text
    assert " on" not in "".join(re.findall(r"<[^!][^>]*>", text.partition("<body>")[2])).replace("only", "")


@pytest.mark.parametrize(
    ("nodes", "known", "kib"),
    [
        (1, {}, 16),
        (30, {5: pages.OFFLINE, 9: pages.DEGRADED}, 40),
        (1000, MANY, 700),
        (1000, dict.fromkeys(range(1000), pages.OFFLINE), 700),
    ],
)
def test_the_page_is_small(nodes: int, known: dict[int, object], kib: int) -> None:
    text = page.html(view.page(pages.mesh(nodes, known), pages.past(nodes)))
    assert len(text.encode()) <= kib * 1024


def test_of_many_nodes_those_without_trouble_are_folded_away() -> None:
    text = page.html(view.page(pages.mesh(101, {7: pages.OFFLINE}), Past()))
    shown, _, folded = text.partition("<details>")
    assert "Node 7" in shown
    assert "<b>Node 8</b>" not in shown
    assert "<summary>100 healthy nodes</summary>" in folded
    assert "<details" not in page.html(view.page(pages.mesh(100, {7: pages.OFFLINE}), Past()))
