"""What the page shows: its sentence, trouble first, when it is out of date."""

import pytest
from msgspec.structs import replace

import pages
from factories import NOW
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.publishing import view
from gpu_mesh.publishing.past import Past
from gpu_mesh.publishing.view import Headline, Tone
from gpu_mesh.reporting.report import Report, report


def of(*statuses: Status) -> Report:
    shown = pages.mesh(len(statuses))
    nodes = zip(shown.nodes, statuses, strict=True)
    return replace(shown, nodes=tuple(replace(node, status=status) for node, status in nodes))


UP, DEGRADED, DOWN, OFFLINE, UNKNOWN = (
    Status.HEALTHY,
    Status.DEGRADED,
    Status.UNHEALTHY,
    Status.OFFLINE,
    Status.UNKNOWN,
)
SENTENCES = [
    ((UP, UP, UP), Tone.UP, "All 3 nodes are healthy"),
    ((UP,), Tone.UP, "The node is healthy"),
    ((DOWN,), Tone.DOWN, "The node does not serve"),
    ((UP, OFFLINE), Tone.DOWN, "1 of 2 nodes does not serve"),
    ((UP, OFFLINE, DOWN, UP), Tone.DOWN, "2 of 4 nodes do not serve"),
    ((OFFLINE, DOWN), Tone.DOWN, "None of the 2 nodes serves"),
    ((UP, OFFLINE, DEGRADED), Tone.DOWN, "1 of 3 nodes does not serve, 1 more is degraded"),
    (
        (OFFLINE, DEGRADED, DEGRADED, UNKNOWN),
        Tone.DOWN,
        "1 of 4 nodes does not serve, 2 more are degraded, 1 more is not known yet",
    ),
    ((UP, DEGRADED), Tone.IMPAIRED, "1 of 2 nodes is degraded"),
    ((DEGRADED, UNKNOWN), Tone.IMPAIRED, "1 of 2 nodes is degraded, 1 more is not known yet"),
    ((UP, UNKNOWN, UNKNOWN), Tone.UNKNOWN, "2 of 3 nodes are not known yet"),
    ((UNKNOWN, UNKNOWN), Tone.UNKNOWN, "Nothing is known yet of any of the 2 nodes"),
    ((DEGRADED, DEGRADED), Tone.IMPAIRED, "All 2 nodes are degraded"),
    ((), Tone.UNKNOWN, "There is no node to watch"),
]


@pytest.mark.parametrize(("statuses", "tone", "sentence"), SENTENCES)
def test_one_sentence_says_how_the_mesh_is(statuses: tuple[Status, ...], tone: Tone, sentence: str) -> None:
    assert view.headline(of(*statuses)) == Headline(tone, sentence)


EMERGENCY = Emergency(NOW - 60, NOW - 5, 3, "No space left on device", "free some space")
UNKNOWNS = [
    ({"last_check": None}, "The monitor has not checked anything yet"),
    ({"stale": True, "last_check": NOW - 600}, "Nobody watches: the last check was 10 min ago"),
    ({"emergency": EMERGENCY}, "The monitor cannot save what it sees"),
    ({"offline_since": NOW - 60}, "The monitor has no network"),
]


@pytest.mark.parametrize(("known", "sentence"), UNKNOWNS)
def test_no_old_news_are_told_as_new(known: dict[str, object], sentence: str) -> None:
    shown = of(UP, OFFLINE)
    shown = replace(shown, mesh=replace(shown.mesh, **known))
    assert view.headline(shown) == Headline(Tone.UNKNOWN, sentence)


def test_a_mesh_in_which_one_of_very_many_nodes_fails_is_not_said_to_be_all_well() -> None:
    assert view.page(pages.mesh(1000, {0: pages.OFFLINE}), Past()).health == "99.9%"
    assert view.page(pages.mesh(1000), Past()).health == "100%"


def test_a_node_that_is_not_checked_is_in_the_list_and_in_no_count() -> None:
    shown = of(UP, OFFLINE)
    shown = replace(shown, nodes=(shown.nodes[0], replace(shown.nodes[1], enabled=False)))
    page = view.page(shown, Past())
    assert page.headline.sentence == "The node is healthy"
    assert [(row.status, row.tone) for row in page.rows] == [
        ("healthy", Tone.UP),
        ("disabled", Tone.UNKNOWN),
    ]
    assert page.troubles == ()


def test_trouble_comes_first_the_worst_and_oldest_before_the_rest() -> None:
    shown = of(UP, DEGRADED, DOWN, OFFLINE, OFFLINE)
    since = (NOW - 9, NOW - 9000, NOW - 100, NOW - 50, NOW - 500)
    nodes = zip(shown.nodes, since, strict=True)
    page = view.page(replace(shown, nodes=tuple(replace(node, since=at) for node, at in nodes)), Past())
    assert [each.name for each in page.troubles] == ["Node 4", "Rented pod", "Desk", "Iceland"]
    assert [row.name for row in page.rows] == ["Vengeance", "Iceland", "Desk", "Rented pod", "Node 4"]


def test_of_two_in_equal_trouble_the_one_whose_incident_is_older_comes_first() -> None:
    first, second = of(OFFLINE, OFFLINE).nodes
    nodes = (
        replace(first, since=NOW - 500, incident_since=NOW - 600),
        replace(second, since=NOW - 50, incident_since=NOW - 9000),
    )
    page = view.page(replace(of(OFFLINE, OFFLINE), nodes=nodes), Past())
    assert [(each.name, each.since) for each in page.troubles] == [
        ("Iceland", NOW - 9000),
        ("Vengeance", NOW - 600),
    ]


ENDINGS = [
    ({"ended": None, "repairs": 1}, "it lasts; 1 repair so far"),
    ({"mended": "restarted ollama.service", "repairs": 1}, "mended: restarted ollama.service"),
    ({"repairs": 2}, "came back after 2 repairs; none was proved to help"),
    ({}, "came back without a repair"),
]


@pytest.mark.parametrize(("known", "words"), ENDINGS)
def test_of_an_incident_no_repair_is_praised_and_none_is_hidden(known: dict[str, object], words: str) -> None:
    incident = replace(pages.past(1).incidents[0], **{"ended": NOW, "repairs": 0, "mended": "", **known})
    page = view.page(of(UP), Past(incidents=(incident,)))
    assert [each.ending for each in page.incidents] == [words]


def test_of_very_many_nodes_in_trouble_the_worst_are_told_in_full_and_the_others_counted() -> None:
    page = view.page(of(*[DEGRADED] * 60, *[DOWN] * 40), Past())
    assert (len(page.troubles), page.further_troubles) == (50, 50)
    assert [each.status for each in page.troubles] == ["unhealthy"] * 40 + ["degraded"] * 10
    assert len(page.rows) == 100


def test_trouble_has_its_cause_since_when_what_was_done_and_what_is_next() -> None:
    page = view.page(pages.mesh(4, pages.IN_TROUBLE), Past())
    first = page.troubles[0]
    assert first.cause == "A GPU has fallen off the bus (0000:0b:00.0)"
    assert (first.since, first.lasts) == (NOW - 7500, "2 h 5 min")
    assert first.done == (
        "last repair was not tried (05:58:20 UTC): no restart helps there",
        "no repair now: A GPU has fallen off the bus: a restart does not help",
    )
    assert first.next_step.startswith("reboot pod.example.net")


def test_a_row_shows_models_and_memory_of_a_node_that_answers_and_of_no_other() -> None:
    rows = view.page(pages.mesh(4, pages.IN_TROUBLE), Past()).rows
    assert (rows[0].models, rows[0].response) == ("qwen2.5-coder:32b (22.0 GiB)", "34 ms")
    assert rows[0].vram == view.Vram(92, "22 of 24 GiB VRAM")
    assert (rows[1].models, rows[1].response, rows[1].vram) == ("", "", None)
    assert (rows[2].models, rows[2].vram) == ("llama3.2:latest (4.0 GiB, 100% CPU)", None)


def test_of_cards_that_nobody_has_looked_at_ollamas_own_figure_is_shown() -> None:
    rows = view.page(pages.mesh(1, {0: replace(pages.WELL, gpu=None)}), Past()).rows
    assert rows[0].vram == view.Vram(None, "22.0 GiB VRAM")


def test_without_a_history_there_is_no_bar_and_the_share_is_that_of_a_day() -> None:
    shown = replace(of(UP), nodes=(replace(of(UP).nodes[0], success_rate_24h=99.5),))
    (row,) = view.page(shown, Past()).rows
    assert (row.bar, row.share, row.share_of) == (None, "99.50%", "24 h")
    (row,) = view.page(shown, pages.past(1)).rows
    assert row.bar is not None
    assert row.share_of == ""


def test_what_is_published_counts_until_a_check_or_a_page_is_missing() -> None:
    assert view.stale_after(pages.mesh(1)) == NOW - 12 + 3 * 30 + 2 * 60
    shown = of(UP)
    stopped = replace(shown, mesh=replace(shown.mesh, stale=True))
    assert view.stale_after(stopped) == NOW
    assert view.stale_after(report(Mesh(()), State(), NOW)) == NOW


def test_a_page_that_says_that_nobody_watches_is_no_old_page() -> None:
    shown = of(UP)
    stopped = replace(shown, mesh=replace(shown.mesh, stale=True))
    page = view.page(stopped, Past())
    assert page.stale
    assert page.stale_after == NOW + 180
    assert not view.page(report(Mesh(()), State(), NOW), Past()).stale
