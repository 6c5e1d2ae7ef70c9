"""When a loaded model is asked for a sign of life, and what its silence means."""

import pytest
from msgspec.structs import replace

from factories import GPU1, NOW, answers
from gpu_mesh.diagnosis import deep_check, evaluate
from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import DeepChecked, NodeState, State

EVERY = 600.0
MODEL = LoadedModel("a", size=100, size_vram=100, expires_at=NOW + 300, context_length=4096)


def listed(**ends: float) -> tuple[LoadedModel, ...]:
    """Return the loaded models of the check before, by the time at which each is unloaded."""
    return tuple(LoadedModel(name, expires_at=end) for name, end in ends.items())


SEEN_BEFORE = listed(a=NOW + 300)

DUE = {
    "a model that was never asked is": (NodeState(), (MODEL,), True),
    "one that was asked an interval ago is": (
        NodeState(deep_at=NOW - EVERY, loaded=SEEN_BEFORE), (MODEL,), True,
    ),
    "one that was asked lately is not": (
        NodeState(deep_at=NOW - EVERY + 1, loaded=SEEN_BEFORE), (MODEL,), False,
    ),
    "one whose end was put off has just served somebody": (
        NodeState(last_check=NOW - 30, loaded=listed(a=NOW + 280)), (MODEL,), False,
    ),
    "one whose end keeps in step with the clock has not finished its first request": (
        NodeState(last_check=NOW - 30, loaded=listed(a=NOW + 271)), (MODEL,), True,
    ),
    "one that is new in the list proves nothing yet": (NodeState(loaded=listed(b=NOW)), (MODEL,), True),
    "one that did not answer is asked again at once": (
        NodeState(cause=Cause.RUNNER_HUNG, deep_at=NOW - 30), (MODEL,), True,
    ),
    "one that did not answer is asked again although a sister served": (
        NodeState(cause=Cause.RUNNER_HUNG, loaded=listed(a=NOW)), (MODEL,), True,
    ),
    "one whose context length is not known could be loaded anew, and is not": (
        NodeState(), (LoadedModel("a", 100, 100, NOW + 300),), False,
    ),
    "one that nobody uses, and that would be unloaded by now, is left to be unloaded": (
        NodeState(deep_at=NOW - EVERY, deep_checked={"a": DeepChecked(NOW - 1, NOW + 300)}), (MODEL,), False,
    ),
    "one that nobody uses, and that would still be loaded, is": (
        NodeState(deep_at=NOW - EVERY, deep_checked={"a": DeepChecked(NOW + 1, NOW + 300)}), (MODEL,), True,
    ),
    "one whose node's clock is ahead is left alone by that clock": (
        NodeState(deep_at=NOW - EVERY, deep_checked={"a": DeepChecked(NOW + 90, NOW + 300, 100)}),
        (MODEL,), False,
    ),
    "one that was used since it was asked is": (
        NodeState(deep_at=NOW - EVERY, deep_checked={"a": DeepChecked(NOW - 1, NOW + 200)}), (MODEL,), True,
    ),
    "one that is there past its time is in use": (
        NodeState(deep_at=NOW - EVERY, deep_checked={"a": DeepChecked(NOW - 90, NOW - 30)}),
        (replace(MODEL, expires_at=NOW - 30),), True,
    ),
    "one that is kept is asked all the same while another did not answer": (
        NodeState(cause=Cause.RUNNER_HUNG, deep_checked={"a": DeepChecked(NOW - 1, NOW + 300)}),
        (MODEL,), True,
    ),
    "one that its first deep check loaded anew is not": (
        NodeState(deep_reloads={"a:latest": NOW - 60}), (MODEL,), False,
    ),
    "one that was loaded anew a day ago is asked once more": (
        NodeState(deep_reloads={"a:latest": NOW - 86400}), (MODEL,), True,
    ),
    "one that its first deep check did not load anew is": (
        NodeState(deep_reloads={"a:latest": 0.0}), (MODEL,), True,
    ),
    "without a loaded model there is none": (NodeState(), (), False),
}  # fmt: skip


@pytest.mark.parametrize("case", DUE)
def test_a_deep_check_is_due_only_where_nothing_else_proves_life(case: str) -> None:
    before, loaded, due = DUE[case]
    assert (deep_check.choose(before, loaded, NOW, EVERY) is not None) is due


def test_an_interval_of_zero_switches_deep_checks_off() -> None:
    assert deep_check.choose(NodeState(), (MODEL,), NOW, 0.0) is None


def test_several_models_take_turns() -> None:
    models = (MODEL, LoadedModel("b", 1, 1, NOW, 2048))
    asked = {deep_check.choose(NodeState(), models, NOW + n * EVERY, EVERY) for n in range(2)}
    assert asked == set(models)


def seen(deep: Reply | None, *, excused: bool = False, at: float = NOW) -> Observation:
    return answers("gpu1", at, MODEL, node_clock=NOW, deep=deep, deep_model="a", deep_excused=excused)


ANSWERS = {
    "an answer": (Reply(status=200), False, None),
    "silence": (Reply(Fault.READ_TIMEOUT, detail="no answer within 7 s"), False, Cause.RUNNER_HUNG),
    "silence of a node that is at work": (Reply(Fault.READ_TIMEOUT), True, None),
    "a closed connection": (Reply(Fault.CLOSED), False, Cause.RUNNER_HUNG),
    "a server error": (Reply(Fault.STATUS, 500, "HTTP 500"), False, Cause.RUNNER_HUNG),
    "a full queue": (Reply(Fault.STATUS, 503, "HTTP 503"), False, Cause.BUSY),
    "a proxy that lets nobody post": (Reply(Fault.STATUS, 405, "HTTP 405"), False, None),
    "a proxy that does not know how to post": (Reply(Fault.STATUS, 501, "HTTP 501"), False, None),
    "a proxy that asks for a login": (Reply(Fault.REDIRECT, 302, "HTTP 302 Found"), False, None),
    "a page of a proxy's": (Reply(Fault.NOT_JSON, 200, "HTML instead of JSON"), False, None),
    "a model that makes no text": (Reply(Fault.STATUS, 400, "HTTP 400"), False, None),
    "trouble of the monitor itself": (Reply(Fault.MONITOR), False, None),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_the_answer_of_a_loaded_model_is_judged(case: str) -> None:
    deep, excused, cause = ANSWERS[case]
    found = diagnose(GPU1, seen(deep, excused=excused), NodeState())
    assert found.cause is cause
    verdict = {None: Verdict.OK, Cause.BUSY: Verdict.IMPAIRED}.get(cause, Verdict.FAILED)
    assert found.verdict is verdict


def test_a_model_that_stays_silent_makes_its_node_unhealthy_until_it_answers() -> None:
    state, statuses = State(), []
    hung = Reply(Fault.READ_TIMEOUT, detail="no answer within 7 s")
    for number, reply in enumerate([None, hung, hung, hung, Reply(status=200)]):
        at = NOW + 30 * number
        asked = deep_check.choose(state.nodes.get("gpu1") or NodeState(), (MODEL,), at, EVERY)
        assert asked is MODEL or number == 0
        statuses.append(evaluate.apply_observation(state, GPU1, seen(reply, at=at)).after.status)
    assert statuses == [Status.HEALTHY, *[Status.DEGRADED] * 2, Status.UNHEALTHY, Status.HEALTHY]


def hours_of(keep_alive: float, used: range, *, hours: int = 3) -> tuple[list[int], int]:
    """Return the minutes in which a node is asked, and the one in which its only model is unloaded.

    Checks come every 30 s. A person uses the model in each of these minutes. Like Ollama, the node unloads it
    when no request, a deep check included, has come for so long.
    """
    state, ends, asked, unloaded = State(), NOW + keep_alive, [], 0
    for number in range(hours * 120):
        at = NOW + 30.0 * number
        if number % 2 and number // 2 in used:
            ends = at - 5 + keep_alive
        loaded = (LoadedModel("a", 100, 100, ends, 4096),) if at < ends else ()
        unloaded = unloaded or (0 if loaded else number // 2)
        known = state.node("gpu1")
        model = deep_check.choose(known, loaded, at, EVERY)
        if model:
            asked.append(number // 2)
            ends = at + 0.1 + keep_alive
        deep = Reply(status=200, ms=20) if model else None
        seen = answers("gpu1", at, *loaded, node_clock=at, deep=deep, deep_model="a" if model else "")
        evaluate.apply_observation(state, GPU1, seen)
    return asked, unloaded


def test_a_model_that_nobody_uses_is_unloaded_at_most_twice_as_late_as_without_deep_checks() -> None:
    assert hours_of(1800.0, range(0)) == ([0, 10, 20], 50)
    assert hours_of(300.0, range(0)) == ([0], 5)


def test_a_model_that_was_used_is_asked_as_long_as_it_would_be_loaded_anyway() -> None:
    asked, unloaded = hours_of(1800.0, range(20, 22))
    assert asked == [0, 10, 20, 31, 41]
    assert unloaded == 72


def test_a_model_in_use_needs_no_deep_check() -> None:
    asked, _ = hours_of(1800.0, range(60), hours=1)
    assert asked == [0]


FIRST = {
    "an answer at once": (Reply(status=200, ms=30), False, {"a:latest": 0.0}),
    "an answer after seconds": (Reply(status=200, ms=2500), False, {"a:latest": NOW}),
    "none, and the model is gone from the list": (Reply(Fault.READ_TIMEOUT), True, {"a:latest": NOW}),
    "none, while the node is at work": (Reply(Fault.READ_TIMEOUT), False, {}),
    "no deep check": (None, False, {}),
}


@pytest.mark.parametrize("case", FIRST)
def test_the_first_deep_check_of_a_model_shows_whether_it_was_loaded_anew(case: str) -> None:
    deep, loads, known = FIRST[case]
    state = State()
    what = replace(seen(deep, excused=bool(deep and deep.fault)), deep_loads=loads)
    evaluate.apply_observation(state, GPU1, what if deep else replace(what, deep_model=""))
    assert state.nodes["gpu1"].deep_reloads == known


def test_only_the_first_deep_check_decides_and_another_version_begins_anew() -> None:
    state = State(nodes={"gpu1": NodeState(deep_reloads={"a:latest": 0.0}, version="0.12.11")})
    evaluate.apply_observation(state, GPU1, seen(Reply(status=200, ms=9000)))
    assert state.nodes["gpu1"].deep_reloads == {"a:latest": 0.0}
    evaluate.apply_observation(state, GPU1, replace(seen(Reply(status=200, ms=9000)), version="0.32.15"))
    assert state.nodes["gpu1"].deep_reloads == {"a:latest": NOW}
