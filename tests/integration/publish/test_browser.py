"""The page in a real browser: nothing is blocked or loaded, and everybody can see and reach what is there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

import browser
import pages
from checkout import PROGRAMS, ROOT
from factories import NOW
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.publishing import page, public, view
from gpu_mesh.publishing.past import Past
from gpu_mesh.reporting.node_report import LoadedModelReport
from gpu_mesh.reporting.report import Report, report
from marks import soak

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs chromium")

PICTURES = os.environ.get("GPU_MESH_PICTURES", "")
"""A folder: there each variant is kept as a picture, for people to look at."""

PHONE, DESKTOP = 390, 1200
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def hostile() -> Report:
    model = LoadedModelReport(HOSTILE, None, None, None, None)
    shown = pages.mesh(3, pages.IN_TROUBLE)
    texts = {"name": HOSTILE, "detail": HOSTILE, "next_step": HOSTILE, "loaded_models": (model,)}
    return replace(shown, nodes=tuple(replace(node, **texts) for node in shown.nodes))


def unwatched() -> Report:
    shown = pages.mesh(4, pages.IN_TROUBLE)
    return replace(shown, mesh=replace(shown.mesh, stale=True, last_check=NOW - 600))


def stranger() -> tuple[Report, Past]:
    shown, past = pages.mesh(4, pages.IN_TROUBLE, silences=(pages.SILENCE,)), pages.past(4)
    return public.report(shown), public.past(past, public.names(shown))


MANY = {number: pages.OFFLINE if number % 2 else pages.DEGRADED for number in range(0, 1000, 97)}
PAGES = {
    "healthy": lambda: (pages.mesh(4), pages.past(4)),
    "trouble": lambda: (pages.mesh(4, pages.IN_TROUBLE, silences=(pages.SILENCE,)), pages.past(4)),
    "unwatched": lambda: (unwatched(), pages.past(4)),
    "unchecked": lambda: (report(Mesh(()), State(), NOW), Past()),
    "one": lambda: (pages.mesh(1), Past()),
    "thirty": lambda: (pages.mesh(30, {5: pages.OFFLINE, 9: pages.DEGRADED}), pages.past(30)),
    "thousand": lambda: (pages.mesh(1000, MANY), pages.past(1000)),
    "stranger": stranger,
    "hostile": lambda: (hostile(), pages.past(3)),
}
VARIANTS = [
    soak(name, width, dark, name=f"{name}-{width}-{'dark' if dark else 'light'}")
    if name in ("one", "thousand", "unchecked", "unwatched") and dark is (width == DESKTOP)
    else (name, width, dark)
    for name in PAGES
    for width in (PHONE, DESKTOP)
    for dark in (False, True)
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    with browser.Browser() as started:
        yield started


def written(folder: Path, name: str) -> Path:
    file = folder / f"{name}.html"
    file.write_text(page.html(view.page(*PAGES[name]())), encoding="utf-8")
    return file


def keep(tab: browser.Tab, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        tab.picture(Path(PICTURES, f"{name}.png"))


@pytest.mark.parametrize(("name", "width", "dark"), VARIANTS)
def test_the_page_is_fit_for_everybody_and_nothing_of_it_is_blocked(
    chromium: browser.Browser, tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    tab = chromium.open(written(tmp_path, name), width=width, dark=dark, now=NOW + 5)
    assert tab.complaints == []
    assert tab.value("document.styleSheets.length") == 1, "its style is in force"
    assert tab.value("document.scrollingElement.scrollWidth") <= width, "nothing must be scrolled sideways"
    assert tab.value("performance.getEntriesByType('resource').length") == 0, "nothing else is loaded"
    keep(tab, f"{name}-{width}-{'dark' if dark else 'light'}")
    # Of a thousand rows that are all alike, axe-core would look at each for seconds.
    tab.value("document.querySelectorAll('details li:nth-child(n+6)').forEach(row => row.remove())")
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert tab.violations() == []
    tab.close()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_it_says_by_itself_that_it_is_out_of_date(
    chromium: browser.Browser, tmp_path: Path, width: int
) -> None:
    tab = chromium.open(written(tmp_path, "healthy"), width=width, now=NOW + 5)
    title, icon = tab.value("document.title"), tab.value("document.querySelector('link[rel=icon]').href")
    assert title == "All 4 nodes are healthy · GPU mesh"
    assert tab.value("getComputedStyle(document.getElementById('stale')).display") == "none"
    tab.value("clock += 3600 * 1000")
    assert tab.becomes_true("getComputedStyle(document.getElementById('stale')).display == 'block'")
    assert tab.value("document.title") == f"Out of date: {title}"
    assert tab.value("document.querySelector('link[rel=icon]').href") != icon
    assert (
        tab.value("getComputedStyle(document.getElementById('stale')).backgroundColor") == "rgb(179, 38, 30)"
    )
    keep(tab, f"stale-{width}")
    assert tab.violations() == []
    assert tab.complaints == []
    tab.close()


def test_it_loads_again_every_minute_where_that_is_asked_for(
    chromium: browser.Browser, tmp_path: Path
) -> None:
    tab = chromium.open(written(tmp_path, "healthy"), now=NOW + 5)
    tab.value("clock += 61 * 1000; look()")
    assert tab.value("performance.getEntriesByType('navigation')[0].type") == "navigate", "not by itself"
    tab.value("document.querySelector('footer a').click()")
    chromium.events.clear()
    chromium.await_event("Page.loadEventFired")
    assert tab.value("performance.getEntriesByType('navigation')[0].type") == "reload"
    assert tab.value("location.hash") == "#watch"
    assert tab.complaints == []
    tab.close()


def test_a_hostile_name_is_shown_as_it_is(chromium: browser.Browser, tmp_path: Path) -> None:
    tab = chromium.open(written(tmp_path, "hostile"), now=NOW + 5)
    assert HOSTILE in tab.value("document.querySelector('.nodes .who b').textContent")
    assert HOSTILE in tab.value("document.querySelector('.nodes .facts').textContent")
    assert tab.value("document.images.length") == 0
    assert tab.value("document.scripts.length") == 1
    assert tab.complaints == []
    tab.close()


def test_all_that_can_be_clicked_can_be_reached_by_the_keyboard(
    chromium: browser.Browser, tmp_path: Path
) -> None:
    tab = chromium.open(written(tmp_path, "thousand"), now=NOW + 5)
    seen = []
    for _ in range(4):
        for kind in ("rawKeyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        seen.append(tab.value("document.activeElement.textContent"))
    assert seen == ["Feed", "JSON", "989 healthy nodes", "Load it again every minute"]
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
    tab.close()


def test_a_badge_is_a_picture_of_its_own(chromium: browser.Browser, tmp_path: Path) -> None:
    from gpu_mesh.publishing import badges

    shown = hostile()
    file = tmp_path / "badge.svg"
    file.write_text(badges.of_node(shown.nodes[0], shown.mesh), encoding="utf-8")
    tab = chromium.open(file)
    assert tab.value("document.documentElement.nodeName") == "svg"
    assert tab.value("document.querySelector('title').textContent").endswith(": healthy")
    assert tab.value("document.querySelectorAll('script, img').length") == 0
    assert tab.complaints == []
    tab.close()


def test_the_pictures_of_the_readme_can_be_made_anew(tmp_path: Path) -> None:
    program = [sys.executable, str(PROGRAMS / "make_pictures.py"), str(tmp_path)]
    subprocess.run(program, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, check=True)
    made = {path.name: path.read_bytes()[:8] for path in tmp_path.iterdir()}
    assert set(made) == {path.name for path in (ROOT / "docs/pictures").iterdir()}
    assert set(made.values()) == {b"\x89PNG\r\n\x1a\n"}
