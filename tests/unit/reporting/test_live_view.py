"""What the keys of the live view do, and which rows are visible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gpu_mesh.reporting.live_view import Key, Order, View, press, shown, window
from live_mesh import report_of

REPORT = report_of(30)
HEIGHT = 24
TROUBLE = ["n1", "n2", "n3"]


def keys(view: View, *pressed: Key | str) -> View:
    for key in pressed:
        view = press(view, key, REPORT, HEIGHT)
    return view


def typed(text: str) -> tuple[str, ...]:
    return tuple(text)


def names(view: View) -> list[str]:
    return [node.node for node in shown(REPORT, view)]


STORIES = [
    # keys → what the person sees then
    ((Key.DOWN,), View(selected="n1")),
    ((Key.UP,), View(selected="n1")),
    (("j", "j", "k"), View(selected="n1")),
    ((Key.DOWN, Key.UP, Key.UP), View(selected="n1")),
    ((Key.DOWN, Key.DOWN), View(selected="n2")),
    ((Key.END,), View(selected="n19")),
    (("G", "g"), View(selected="n1")),
    ((Key.DOWN, Key.PAGE_DOWN), View(selected="n16")),
    ((Key.DOWN, Key.PAGE_DOWN, Key.PAGE_UP), View(selected="n1")),
    ((Key.END, Key.DOWN), View(selected="n19")),
    ((Key.ENTER,), View(selected="n1", detail=True)),
    ((Key.DOWN, Key.DOWN, Key.ENTER, Key.DOWN), View(selected="n2", detail=True, first=1)),
    ((Key.DOWN, Key.ENTER, Key.ENTER), View(selected="n1")),
    ((Key.DOWN, Key.ENTER, "s", "p", "/"), View(selected="n1", detail=True)),
    ((Key.DOWN, Key.ENTER, Key.ESCAPE), View(selected="n1")),
    ((Key.DOWN, Key.ENTER, Key.ESCAPE, Key.ESCAPE), View()),
    (("p",), View(only_problems=True)),
    (("p", "p"), View()),
    (("p", Key.ESCAPE), View()),
    (("s",), View(order=Order.NAME)),
    (("s",) * len(Order), View()),
    (("?",), View(help=True)),
    (("?", Key.DOWN, Key.DOWN, Key.UP), View(help=True, first=1)),
    (("?", "?"), View()),
    (("?", "s", "p", "/"), View(help=True)),
    (("?", Key.ESCAPE), View()),
    (("/",), View(typing=True)),
    (("/", *typed("Qq"), Key.ENTER), View(filter="Qq")),
    (("/", *typed("ab"), Key.BACKSPACE), View(filter="a", typing=True)),
    (("/", *typed("ab"), Key.ESCAPE), View()),
    (("/", *typed("ab"), Key.ENTER, Key.ESCAPE), View()),
    (("/", Key.UP, "\x01", "é"), View(filter="é", typing=True)),
    (("/", *typed("x" * 99)), View(filter="x" * 40, typing=True)),
    (("x", "\x00"), View()),
    (("q",), View(left=True)),
    ((Key.ENTER, "q"), View(selected="n1", detail=True, left=True)),
    (("?", "q"), View(help=True, left=True)),
]


@pytest.mark.parametrize(("pressed", "expected"), STORIES)
def test_a_key_does_what_the_help_says(pressed: tuple[Key | str, ...], expected: View) -> None:
    assert keys(View(), *pressed) == expected


def test_trouble_comes_first_and_what_is_disabled_last() -> None:
    assert names(View())[:4] == [*TROUBLE, "n0"]
    assert names(View())[-1] == "n19"


@pytest.mark.parametrize("order", Order)
def test_what_is_disabled_comes_last_in_every_order(order: Order) -> None:
    assert names(View(order=order))[-1] == "n19"
    assert sorted(names(View(order=order))) == sorted(names(View()))


@pytest.mark.parametrize(
    ("order", "first"),
    [
        (Order.NAME, ["n3", "n7", "n8"]),  # Desk under the stairs, gpu-007, gpu-008
        (Order.RESPONSE, ["n29", "n28", "n27"]),  # 241, 234, 227 ms
        (Order.VRAM, ["n5", "n17", "n29"]),  # two large models each
        (Order.RELIABILITY, ["n2", "n5", "n8"]),  # two failures in 24 hours
    ],
)
def test_the_orders(order: Order, first: list[str]) -> None:
    assert names(View(order=order))[:3] == first


def test_of_two_that_are_offline_the_newer_one_comes_first() -> None:
    nodes = [
        replace(node, status=REPORT.nodes[1].status, since=1000.0 + number)
        for number, node in enumerate(REPORT.nodes[:3])
    ]
    told = replace(REPORT, nodes=tuple(nodes))
    assert [node.node for node in shown(told, View())] == ["n2", "n1", "n0"]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ("ICE", ["n1"]),  # a name
        ("offline", ["n1"]),  # a status
        ("disabled", ["n19"]),
        ("no route", ["n1"]),  # a cause
        ("n28", ["n28"]),  # a key
        ("zzz", []),
    ],
)
def test_a_filter_finds_names_statuses_and_causes(filter_: str, expected: list[str]) -> None:
    assert names(View(filter=filter_)) == expected


def test_a_filter_finds_models() -> None:
    assert len(names(View(filter="qwen2.5"))) == 30


def test_of_problems_only_nothing_that_is_disabled_is_shown() -> None:
    assert names(View(only_problems=True)) == TROUBLE


def test_keys_in_a_mesh_without_nodes_do_no_harm() -> None:
    empty = replace(REPORT, nodes=())
    for key in (*Key, *"jkgGsp?/q"):
        press(View(), key, empty, HEIGHT)
    assert press(View(), Key.ENTER, empty, HEIGHT) == View()


WINDOWS = [
    # heights, room, first, chosen → first, end
    ([1] * 5, 5, 0, None, (0, 5)),
    ([1] * 6, 5, 0, None, (0, 4)),  # a line is left for the count of what is below
    ([1] * 6, 5, 1, None, (1, 4)),  # and one for what is above
    ([1] * 6, 5, 5, None, (2, 6)),  # no room is wasted at the end
    ([1] * 9, 5, 0, 4, (2, 5)),  # what is chosen is visible
    ([1] * 9, 5, 6, 2, (2, 5)),
    ([1] * 9, 5, 0, 8, (5, 9)),
    ([3, 3, 3], 9, 0, None, (0, 3)),
    ([3, 3, 3], 8, 0, None, (0, 2)),
    ([1] * 9, 1, 0, 4, (4, 5)),  # a screen too small for anything shows what is chosen
    ([3], 1, 0, None, (0, 1)),
    ([], 5, 0, None, (0, 0)),
]


@pytest.mark.parametrize(("heights", "room", "first", "chosen", "expected"), WINDOWS)
def test_which_rows_are_visible(
    heights: list[int], room: int, first: int, chosen: int | None, expected: tuple[int, int]
) -> None:
    assert window(heights, room, first, chosen) == expected


@given(st.data())
def test_what_is_chosen_is_always_visible_and_it_fits(data: st.DataObject) -> None:
    heights = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=40))
    room = data.draw(st.integers(5, 30))
    chosen = data.draw(st.none() | st.integers(0, len(heights) - 1))
    first = data.draw(st.integers(0, 50))
    begin, end = window(heights, room, first, chosen)
    assert 0 <= begin < end <= len(heights)
    assert chosen is None or begin <= chosen < end
    assert sum(heights[begin:end]) + (begin > 0) + (end < len(heights)) <= room
    assert window(heights, room, begin, chosen) == (begin, end), "it stays where it is"
