"""The live view at screens of every size: what is on it, what is left out, and that it always fits."""

import unicodedata
from collections.abc import Sequence
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import NOW, plain
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.emergency import Emergency
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.history import Sample
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import State, Tick
from gpu_mesh.reporting.live import Screen, frame, settled
from gpu_mesh.reporting.live_view import Key, Order, View, press
from gpu_mesh.reporting.report import Report, report
from gpu_mesh.reporting.shown import sentence
from gpu_mesh.reporting.styled import Style
from gpu_mesh.text.table import cells
from live_mesh import healthy, offline, on_cpu, report_of, samples_of, screen, texts

WIDTHS, HEIGHTS = (60, 80, 120, 200), (20, 24, 40, 60)


def seen(told: Report, width: int = 80, height: int = 24, view: View = View(), **options: Any) -> list[str]:  # noqa: B008
    return texts(frame(screen(told, width, height, **options), view))


def fits(lines: Sequence[str], width: int, height: int) -> bool:
    return len(lines) <= height and all(cells(line) <= width for line in lines)


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 4, 30, 200])
def test_it_fits_every_screen_with_trouble_on_the_first_rows(count: int, width: int, height: int) -> None:
    told = report_of(count)
    lines = seen(told, width, height)
    assert fits(lines, width, height)
    assert len(lines) == height
    assert any(line.endswith("  08:00:00 UTC") for line in lines[:2])
    assert lines[-1].startswith("q leave  ? help  ")
    if count >= 4:
        signs = [line[0] for line in lines[4:] if line[:1] in set("●▲✖■○–")]
        assert signs[:4] == ["■", "✖", "▲", "●"]
    for view in (View(help=True), press(View(), Key.ENTER, told, height)):
        assert fits(seen(told, width, height, view), width, height)


COLUMNS = [
    (60, "  node          status     cause or mod…  VRAM      response"),
    (80, "  node          status     cause or model    VRAM      response   24 h  hour    "),
]


@pytest.mark.parametrize(("width", "heads"), COLUMNS)
def test_columns_are_dropped_from_the_right(width: int, heads: str) -> None:
    assert seen(report_of(30), width)[3] == heads


def test_a_wide_screen_has_every_column() -> None:
    usual = ["node", "status", "cause", "or", "model", "VRAM", "response", "24", "h", "last", "hour", "usual"]
    assert seen(report_of(30), 120)[3].split() == usual
    assert seen(report_of(30), 200)[3].split() == [*usual, "models"]
    assert "  ━─────── 2.0/48 GiB  " in seen(report_of(30), 120)[12]


def test_without_a_history_the_last_hour_is_left_out_and_others_get_its_room() -> None:
    heads = seen(report_of(30), 80, past=False)[3]
    assert heads == "  node          status     cause or model              VRAM      response   24 h"


def test_the_whole_view_of_a_small_mesh() -> None:
    assert [line.rstrip() for line in seen(report_of(4), 80, 20)] == [
        "2 of 4 nodes do not serve, 1 more is degraded                       08:00:00 UTC",
        "health 37.5% · checked 12 s ago, every 30 s",
        "",
        "  node          status     cause or model    VRAM      response   24 h  hour",
        "■ Iceland       offline    Host down: no route to host · 48 min  99.9%  ▃×××××××",
        "    acknowledged by anna 10 min ago: the provider moves the rack · last repair:…",
        "    next: check power, network and sshd of n1",
        "✖ Lab A         unhealthy  Tunnel down: nothing listen… · 2 min  99.9%  ▃▃▃▃▃▃▃×",
        "    a recovery is under way",
        "    next: see on the monitor: journalctl -u gpu-mesh-tunnel@n2",
        "▲ Desk under…   degraded   A model runs on… · 31 min      66 ms  99.9%  ▃▃▃▃▃▃▃▃",
        "    next: run nvidia-smi on n3; a smaller model or context may be needed, or me…",
        "● Vengeance     healthy    none loaded       ━───────     38 ms   100%  ▃▃▃▃▃▃▃▃",
        *([""] * 6),
        "q leave  ? help  ↑↓ select  Enter detail  / filter  s sort  p problems",
    ]


def test_what_does_not_fit_is_counted_by_status() -> None:
    lines = seen(report_of(30), 80, 20)
    assert lines[-2] == "… 20 more healthy, 1 more disabled"
    down = View(selected="n19")
    assert seen(report_of(30), 80, 20, down)[4] == "… above: 1 offline, 1 unhealthy, 1 degraded, 13 healthy"


def test_where_much_fails_the_screen_shows_nodes_and_not_what_to_do() -> None:
    mesh = Mesh(tuple(plain(f"n{number}") for number in range(30)))
    known = State(tick=Tick(NOW - 12), nodes={f"n{number}": offline() for number in range(30)})
    lines = seen(report(mesh, known, NOW), 80, 24)
    assert sum(line.startswith("■ ") for line in lines) == 18
    assert lines[-2] == "… 12 more offline"
    assert not any("next: " in line for line in lines)


def test_the_selected_row_is_marked_to_the_end_of_the_screen() -> None:
    lines = frame(screen(report_of(4), 80, 24), View(selected="n0"))
    (marked,) = [line for line in lines if any(part.style is Style.SELECTED for part in line)]
    (part,) = marked
    assert part.text.startswith("● Vengeance")
    assert cells(part.text) == 80


def test_everything_of_one_node_is_on_its_own_screen() -> None:
    view = press(View(), Key.ENTER, report_of(30), 40)
    said = "\n".join(seen(report_of(30), 80, 40, view))
    for words in (
        "■ Iceland  offline for 47 min, since 07:13:00 UTC",
        "  cause          Host down: no route to host",
        "  acknowledged   by anna 10 min ago: the provider moves the rack",
        "  last repair    failed (07:15:00 UTC): ssh: connect: no route to host",
        "  next           check power, network and sshd of n1",
        "  failures       94 in a row",
        "Models  not known while it does not answer",
        "  0: NVIDIA RTX A6000 · ━─────── 2.0 GiB of 48.0 GiB · 35 % · 61 °C · 182 W",
    ):
        assert words in said
    models = "\n".join(seen(report_of(30), 80, 40, View(selected="n5", detail=True)))
    assert "  deepseek-r1:70b-llama-distill-q4_K_M · 43.0 GiB · 44% on the CPU · context of" in models
    assert "  not loaded     llama3.2:3b, nomic-embed-text" in models


def test_scrolling_ends_at_the_last_line() -> None:
    view = View(selected="n1", detail=True, first=1000)
    on = screen(report_of(30), 60, 20)
    end = settled(on, view)
    assert 0 < end.first < 30
    assert settled(on, replace(view, first=end.first)) == end
    assert texts(frame(on, end))[-2].strip().startswith("0: NVIDIA RTX A6000")


def test_a_node_that_is_gone_from_the_inventory_gives_way_to_the_list() -> None:
    view = View(selected="gone", detail=True)
    assert not settled(screen(report_of(4), 80, 24), view).detail
    assert "■ Iceland" in "\n".join(seen(report_of(4), 80, 24, view))


SENTENCES = [
    ("h", "The node is healthy"),
    ("o", "The node does not serve"),
    ("d", "The node is degraded"),
    ("hh", "All 2 nodes are healthy"),
    ("hhou", "2 of 4 nodes do not serve"),
    ("hhd", "1 of 3 nodes is degraded"),
    ("hodd?", "1 of 5 nodes does not serve, 2 more are degraded, 1 more is not known yet"),
    ("", "There is no node to watch"),
]
STATUSES = dict(
    zip(
        "houd?",
        (Status.HEALTHY, Status.OFFLINE, Status.UNHEALTHY, Status.DEGRADED, Status.UNKNOWN),
        strict=True,
    )
)


@pytest.mark.parametrize(("letters", "expected"), SENTENCES)
def test_the_mesh_in_one_sentence(letters: str, expected: str) -> None:
    mesh = Mesh(tuple(plain(f"n{number}") for number in range(len(letters))))
    nodes = {f"n{number}": healthy(status=STATUSES[letter]) for number, letter in enumerate(letters)}
    assert sentence(report(mesh, State(tick=Tick(NOW - 12), nodes=nodes), NOW)) == expected


def test_a_monitor_that_has_not_checked_yet_says_so() -> None:
    lines = seen(report(Mesh((plain("a"),)), State(), NOW), past=False)
    assert lines[0].startswith("The monitor has not checked anything yet")
    assert lines[4].split() == ["○", "A", "unknown", "not", "checked", "yet", "–"]


def test_a_stale_view_says_so_in_words() -> None:
    mesh = Mesh((plain("a"),))
    lines = seen(report(mesh, State(tick=Tick(NOW - 600), nodes={"a": healthy()}), NOW))
    assert lines[0].startswith("STALE: The node is healthy")
    assert lines[1] == "health 100% · nobody watches, last check 10 min ago"


def test_trouble_of_the_monitor_itself_stands_above_the_nodes() -> None:
    told = report_of(4)
    emergency = Emergency(at=NOW - 10, since=NOW - 100, checks=3, reason="disk full", next_step="free some")
    worse = replace(
        told,
        mesh=replace(told.mesh, emergency=emergency, offline_since=NOW - 60, unprobed=2, alert_urls=0),
    )
    lines = seen(worse, problem="what follows is older: state.json cannot be read\nmore")
    assert lines[2:5] == [
        "! what follows is older: state.json cannot be read more",
        "! Nothing can be saved, for 1 min 40 s: disk full; next: free some; the newest…",
        "! The monitor itself is offline for 1 min: what follows is what was known before",
    ]
    assert lines[5].strip() == "", "three are enough"
    alone = replace(told, mesh=replace(told.mesh, alert_urls=0))
    assert seen(alone)[2] == "! Nobody is told of anything: there is no URL that alerts go to"


def test_what_a_person_has_chosen_is_said() -> None:
    view = View(filter="gpu-", only_problems=False, order=Order.RESPONSE)
    assert seen(report_of(30), view=view)[2] == "24 of 30 nodes · with “gpu-” · by response"
    assert seen(report_of(30), view=View(only_problems=True))[2] == "3 of 30 nodes · problems only"
    assert seen(report_of(30), view=View(filter="zz"))[4] == "No node is as chosen; Esc shows all"
    assert seen(report_of(3), view=View(only_problems=True))[4] == "No problem; p shows all nodes"
    assert seen(report_of(3), view=View(filter="ab", typing=True))[-1] == "/ab▏  Enter keep  Esc show all"


def test_times_are_in_the_zone_that_is_named() -> None:
    on = replace(screen(report_of(4), 80, 24), zone=timezone(timedelta(hours=1), "CET"))
    assert texts(frame(on, View()))[0].endswith(" 09:00:00 CET")
    detail = "\n".join(texts(frame(on, View(selected="n1", detail=True))))
    assert "since 08:13:00 CET" in detail
    assert "last repair    failed (08:15:00 CET)" in detail
    assert "UTC" not in detail


def row_of(width: int = 80, samples: Sequence[Sample] = (), **fields: Any) -> str:
    known = State(tick=Tick(NOW - 12), nodes={"a": healthy(**fields)})
    told = report(Mesh((plain("a"),)), known, NOW)
    on = Screen(told, {"a": tuple(samples)} if samples else {}, width, 20, UTC)
    return texts(frame(on, View()))[4]


def test_a_model_that_is_partly_on_the_cpu_is_marked_and_of_many_the_largest_is_named() -> None:
    gib = 2**30
    both = (LoadedModel("small", gib, gib), LoadedModel("big:70b", 40 * gib, 20 * gib))
    assert "big:70b (50% CPU), small " in row_of(loaded=both)
    long = (LoadedModel("x" * 60, gib, gib), both[0], LoadedModel("b", gib, gib))
    assert "xxx… +2  " in row_of(loaded=long)


def test_a_node_without_known_gpus_has_a_figure_in_place_of_the_bar() -> None:
    loaded = (LoadedModel("a", 3 * 2**30, 3 * 2**30),)
    assert "  3.0 GiB  " in row_of(gpu=None, loaded=loaded)
    assert "  ●" not in row_of(gpu=None)


@pytest.mark.parametrize(
    ("ms", "expected"), [(0.4, "    0 ms"), (45.2, "   45 ms"), (9999.0, " 9999 ms"), (12_345.0, "  12.3 s")]
)
def test_a_response_time_fits_its_column(ms: float, expected: str) -> None:
    assert f"  {expected}  " in row_of(response_ms=ms)


def test_the_last_hour_shows_means_failures_and_gaps() -> None:
    minute = 60.0
    samples = [
        *(Sample("a", NOW - 58 * minute + each, 30, Verdict.OK, None, 40) for each in range(3)),
        Sample("a", NOW - 32 * minute, 30, Verdict.OK, None, 80),
        Sample("a", NOW - 20 * minute, 30, Verdict.FAILED),
        Sample("a", NOW - 20 * minute, 30, Verdict.OK, None, 40),
        Sample("a", NOW - minute, 30, Verdict.OK, None, 2),
        Sample("a", NOW - 70 * minute, 30, Verdict.FAILED),  # long ago
    ]
    assert row_of(samples=samples).endswith("  ▃··▅·×·▁")


# Any report, any text.

HOSTILE = (
    "\x1b[2J\x1b[31mred",
    "a\nb\r\tc\x00\x07",
    "\u202egnp.exe",
    "👩\u200d💻❤\ufe0f",
    "名前" * 40,
    "e" + "\u0301" * 50,
    "\u2028\u2029\x85",
    "\ud800",
    "\U000e0041\ufeff",
    "x" * 500,
    "",
    "﷽" * 9,
)
TEXT = st.sampled_from(HOSTILE) | st.text(max_size=60)
NUMBER = st.none() | st.floats(0, 1e12)
STATUS = st.sampled_from(Status)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    bases = draw(st.lists(st.sampled_from([healthy, offline, on_cpu]), max_size=6))
    nodes, known = [], {}
    for number, make in enumerate(bases):
        nodes.append(plain(f"n{number}", name=draw(TEXT), enabled=draw(st.booleans())))
        size = draw(st.integers(0, 2**50))
        known[f"n{number}"] = make(
            status=draw(STATUS),
            detail=draw(TEXT),
            cause=draw(st.none() | st.sampled_from(Cause)),
            models=tuple(draw(st.lists(TEXT, max_size=3))),
            loaded=(LoadedModel(draw(TEXT), size, draw(st.integers(0, size))),),
            response_ms=draw(NUMBER),
            since=draw(st.floats(0, NOW)),
            version=draw(TEXT),
        )
    state = State(tick=Tick(draw(st.sampled_from([0.0, NOW - 12, NOW - 1e6]))), nodes=known)
    state.inventory_error = draw(TEXT)
    return report(Mesh(tuple(nodes)), state, NOW)


VIEWS = st.builds(
    View,
    selected=st.sampled_from(["", "n0", "n1", "n5"]),
    filter=TEXT.map(lambda text: "".join(filter(str.isprintable, text))[:40]),
    typing=st.booleans(),
    order=st.sampled_from(Order),
    only_problems=st.booleans(),
    detail=st.booleans(),
    help=st.booleans(),
    first=st.integers(0, 1000),
)


@settings(max_examples=300)
@given(reports(), VIEWS, st.integers(1, 210), st.integers(1, 70), TEXT, st.booleans())
def test_whatever_is_told_it_fits_and_has_no_letter_that_a_terminal_would_obey(
    told: Report, view: View, width: int, height: int, problem: str, past: bool
) -> None:
    samples = samples_of(told, checks=20) if past else {}
    lines = texts(frame(Screen(told, samples, width, height, UTC, problem), view))
    assert len(lines) <= height
    for line in lines:
        assert cells(line) <= width
        assert not [
            letter for letter in line if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        ]


@settings(max_examples=100)
@given(reports(), st.lists(st.sampled_from([*Key, *"jkgGsp?/qx"]), max_size=30), st.integers(1, 60))
def test_no_order_of_keys_leads_to_a_view_that_cannot_be_drawn(
    told: Report, pressed: list[Key | str], height: int
) -> None:
    on, view = Screen(told, {}, 80, height, UTC), View()
    for key in pressed:
        view = settled(on, press(view, key, told, height))
        assert len(frame(on, view)) == height
