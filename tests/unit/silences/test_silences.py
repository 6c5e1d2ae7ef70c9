"""Whose alerts rest, until when and why; and which nodes recovery leaves alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from checkout import ROOT
from factories import plain, refusing
from gpu_mesh.domain.alert import Level, Silence
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Day, Mesh, Window
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import plan
from gpu_mesh.silences import silences
from gpu_mesh.silences.silences import MutedUntil
from gpu_mesh.storage import state_file
from gpu_mesh.text import humanize

NOW = 1_750_514_400.0  # Saturday, 2025-06-21 14:00 UTC
MINUTE, DAY = 60.0, 86400.0
ICELAND = plain("iceland", groups=("mesh_nodes", "rented"))
DESK = plain("desk", groups=("mesh_nodes",))
UPDATE = Silence(1, NOW, NOW + 5 * MINUTE, "driver update", "anna", nodes=("iceland",))
BACKUP = Window((Day.SAT,), 13 * 60, 15 * 60, reason="backup")
DOWN = refusing(NOW - 90)


@pytest.mark.parametrize(
    ("silence", "muted"),
    [
        # silence → of iceland's warning, desk's warning, iceland's error, the monitor's error
        (UPDATE, "iceland warning, iceland error"),
        (replace(UPDATE, nodes=()), "iceland warning, desk warning, iceland error, monitor error"),
        (replace(UPDATE, nodes=(), groups=("rented",)), "iceland warning, iceland error"),
        (
            replace(UPDATE, nodes=("desk",), groups=("rented",)),
            "iceland warning, desk warning, iceland error",
        ),
        (replace(UPDATE, nodes=(), groups=("mesh_nodes",)), "iceland warning, desk warning, iceland error"),
        (replace(UPDATE, levels=(Level.WARNING,)), "iceland warning"),
        (replace(UPDATE, levels=(Level.ERROR, Level.CRITICAL)), "iceland error"),
        (replace(UPDATE, nodes=(), levels=(Level.ERROR,)), "iceland error, monitor error"),
        (replace(UPDATE, nodes=("greenland",)), ""),
        (replace(UPDATE, until=NOW), ""),
    ],
)
def test_a_silence_mutes_what_it_names_and_one_that_names_nothing_everything(
    silence: Silence, muted: str
) -> None:
    asked = {
        "iceland warning": (ICELAND, Level.WARNING),
        "desk warning": (DESK, Level.WARNING),
        "iceland error": (ICELAND, Level.ERROR),
        "monitor error": (None, Level.ERROR),
    }
    found = [words for words, (node, level) in asked.items() if silences.muting([silence], node, level, NOW)]
    assert ", ".join(found) == muted


def test_a_node_as_a_whole_is_silenced_by_what_mutes_every_level() -> None:
    assert silences.muting([UPDATE], ICELAND, None, NOW) is UPDATE
    assert silences.muting([replace(UPDATE, levels=(Level.WARNING,))], ICELAND, None, NOW) is None


def test_of_several_silences_the_one_that_ends_last_counts() -> None:
    longer = replace(UPDATE, id=2, until=NOW + 9 * MINUTE, nodes=())
    assert silences.muting([UPDATE, longer, replace(UPDATE, id=3)], ICELAND, Level.ERROR, NOW) is longer


def test_an_open_window_is_as_good_as_a_silence() -> None:
    node = replace(ICELAND, maintenance=(BACKUP,))
    closes = NOW + 60 * MINUTE
    assert silences.quiet((), node, Level.ERROR, NOW) == MutedUntil(closes, "backup")
    assert silences.quiet([UPDATE], node, Level.ERROR, NOW) == MutedUntil(closes, "backup")
    assert silences.quiet([replace(UPDATE, until=closes + 1)], node, Level.ERROR, NOW) == MutedUntil(
        closes + 1, "driver update", "anna"
    )
    assert silences.quiet([UPDATE], ICELAND, Level.ERROR, NOW) == MutedUntil(
        UPDATE.until, "driver update", "anna"
    )
    assert silences.quiet([UPDATE], node, Level.ERROR, closes) is None
    assert silences.quiet([UPDATE], DESK, Level.ERROR, NOW) is None
    assert silences.quiet([UPDATE], None, Level.ERROR, NOW) is None


def test_recovery_goes_on_unless_a_silence_or_a_window_says_otherwise() -> None:
    hands_off = replace(UPDATE, no_recovery=True, levels=(Level.WARNING,))
    quiet_window, closed = replace(BACKUP, recovery=False), NOW + 60 * MINUTE
    node = replace(ICELAND, maintenance=(quiet_window,))
    assert silences.sparing([UPDATE], ICELAND, NOW) is None
    assert silences.sparing([hands_off], DESK, NOW) is None
    assert silences.sparing([hands_off], ICELAND, NOW) == MutedUntil(
        UPDATE.until, "driver update", "anna", no_recovery=True
    )
    assert silences.sparing([hands_off], node, NOW) == MutedUntil(closed, "backup", no_recovery=True)
    assert silences.sparing([], node, closed) is None
    muted = silences.quiet(
        [hands_off, replace(UPDATE, until=NOW + DAY, reason="move")], ICELAND, Level.ERROR, NOW
    )
    assert muted == MutedUntil(NOW + DAY, "move", "anna", no_recovery=True)


def test_the_plan_leaves_a_silenced_node_alone_and_says_why_unless_it_is_forced() -> None:
    known = State(nodes={"iceland": DOWN}, silences=(replace(UPDATE, no_recovery=True),))
    (decision,) = plan.plan(Mesh((ICELAND,)), known, NOW)
    assert (decision.action, decision.reason) == (
        Action.NONE,
        "silenced by anna until 14:05 UTC: driver update (no recovery)",
    )
    (forced,) = plan.plan(Mesh((ICELAND,)), known, NOW, "iceland", force=True)
    assert forced.action is Action.RESTART_OLLAMA
    (after,) = plan.plan(Mesh((ICELAND,)), known, UPDATE.until)
    assert after.action is Action.RESTART_OLLAMA
    muted_only = replace_silences(known, UPDATE)
    assert plan.plan(Mesh((ICELAND,)), muted_only, NOW)[0].action is Action.RESTART_OLLAMA
    node = replace(ICELAND, maintenance=(replace(BACKUP, recovery=False),))
    (kept,) = plan.plan(Mesh((node,)), replace_silences(known), NOW)
    assert kept.reason == "in maintenance until 15:00 UTC: backup (no recovery)"


def replace_silences(known: State, *given: Silence) -> State:
    return replace(known, silences=given)


def test_what_has_a_better_reason_for_no_recovery_keeps_it() -> None:
    hands_off = replace(UPDATE, no_recovery=True)
    healthy = State(nodes={"iceland": NodeState(status=Status.HEALTHY)}, silences=(hands_off,))
    assert plan.plan(Mesh((ICELAND,)), healthy, NOW)[0].reason == plan.HEALTHY


def test_silences_are_numbered_end_early_and_are_forgotten_a_day_later() -> None:
    state = State()
    first = silences.add(state, replace(UPDATE, id=0), NOW)
    second = silences.add(state, replace(UPDATE, id=0, nodes=("desk",)), NOW)
    assert [each.id for each in state.silences] == [1, 2] == [first.id, second.id]
    assert silences.end(state, 1, NOW + MINUTE) == first
    assert silences.muting(state.silences, ICELAND, Level.ERROR, NOW + MINUTE) is None
    assert silences.muting(state.silences, DESK, Level.ERROR, NOW + MINUTE) == second
    assert silences.end(state, 7, NOW) is None
    assert silences.end(state, 1, NOW + 2 * MINUTE) == replace(first, until=NOW + MINUTE)
    assert state.silences[0].until == NOW + MINUTE
    assert silences.remembered(state.silences, NOW + DAY) == state.silences
    assert [each.id for each in silences.remembered(state.silences, NOW + DAY + MINUTE)] == [2]
    silences.add(state, UPDATE, NOW + 2 * DAY)
    assert [each.id for each in state.silences] == [3]
    assert state_file.decode(state_file.encode(state)) == state


def test_nodes_that_share_a_window_are_shown_as_one() -> None:
    mesh = Mesh(tuple(replace(node, maintenance=(BACKUP,)) for node in (ICELAND, DESK)))
    person, window = silences.in_force(mesh, (UPDATE, replace(UPDATE, until=NOW)), NOW)
    assert (person.id, person.author, person.nodes) == (1, "anna", ("iceland",))
    assert (window.id, window.author, window.nodes) == (None, "", ("iceland", "desk"))
    assert window.until == NOW + 60 * MINUTE
    assert silences.in_force(mesh, (), NOW + DAY) == ()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("45min", 2700),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        ("1d", DAY),
        ("1d12h", 1.5 * DAY),
        ("90d", 90 * DAY),
        ("90m", 5400),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert humanize.parse_duration(text, 60, silences.LONGEST) == seconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2", "'2' has no unit; write 2m or 2h"),
        ("soon", "'soon' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("", "'' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("-2h", "'-2h' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("1.5h", "'1.5h' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("30m1h", "'30m1h' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("٣h", "'٣h' is no duration; write it such as 90s, 5min, 1h30m or 1d"),
        ("0h", "'0h' is too short; the shortest is 1 min"),
        ("91d", "'91d' is too long; the longest is 90 d"),
        ("90d1m", "'90d1m' is too long; the longest is 90 d"),
    ],
)
def test_what_is_no_duration_is_told_with_how_to_write_it(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        humanize.parse_duration(text, 60, silences.LONGEST)


@given(st.text())
def test_whatever_is_written_is_a_duration_within_bounds_or_a_mistake(text: str) -> None:
    try:
        seconds = humanize.parse_duration(text, 60, silences.LONGEST)
    except ValueError:
        return
    assert 60 <= seconds <= silences.LONGEST


def test_every_field_of_a_silence_in_the_json_output_is_documented() -> None:
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    section = text.partition("### `silences`")[2].partition("##")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert tuple(rows) == silences.InForce.__struct_fields__


def test_a_long_list_of_names_is_cut_in_a_line() -> None:
    silence = replace(UPDATE, nodes=tuple("abcde"), groups=("rented",))
    assert silences.scope(silence) == "a, b, c, 3 others"
    assert silences.scope(replace(UPDATE, groups=("rented",))) == "iceland, group rented"


def test_an_end_on_another_day_is_told_with_its_date() -> None:
    assert humanize.until_words(NOW + 5 * MINUTE, NOW) == "14:05 UTC"
    assert humanize.until_words(NOW + DAY, NOW) == "2025-06-22 14:00 UTC"
