"""When a loaded model is asked for a sign of life, and what its silence means."""

import pytest

from factories import GPU1, NOW, answers
from gpu_mesh.diagnosis import deep_check, evaluate
from gpu_mesh.diagnosis.diagnose import diagnose
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.state import NodeState, State

EVERY = 600.0
MODEL = LoadedModel("a", size=100, size_vram=100, expires_at=NOW + 300, context_length=4096)
SEEN_BEFORE = {"a": NOW + 300}

DUE = {
    "a model that was never asked is": (NodeState(), (MODEL,), True),
    "one that was asked an interval ago is": (
        NodeState(deep_at=NOW - EVERY, expiries=SEEN_BEFORE), (MODEL,), True,
    ),
    "one that was asked lately is not": (
        NodeState(deep_at=NOW - EVERY + 1, expiries=SEEN_BEFORE), (MODEL,), False,
    ),
    "one whose end was put off has just served somebody": (
        NodeState(last_check=NOW - 30, expiries={"a": NOW + 280}), (MODEL,), False,
    ),
    "one whose end keeps in step with the clock has not finished its first request": (
        NodeState(last_check=NOW - 30, expiries={"a": NOW + 271}), (MODEL,), True,
    ),
    "one that is new in the list proves nothing yet": (NodeState(expiries={"b": NOW}), (MODEL,), True),
    "one that did not answer is asked again at once": (
        NodeState(cause=Cause.RUNNER_HUNG, deep_at=NOW - 30), (MODEL,), True,
    ),
    "one that did not answer is asked again although a sister served": (
        NodeState(cause=Cause.RUNNER_HUNG, expiries={"a": NOW}), (MODEL,), True,
    ),
    "one whose context length is not known could be loaded anew, and is not": (
        NodeState(), (LoadedModel("a", 100, 100, NOW + 300),), False,
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
