"""Stories of the status walk: what is said of a node, and what is told to people, check after check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import LOADED_ON_CPU, NOW, answers, fails, plain
from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.node_alerts import announce
from gpu_mesh.diagnosis import evaluate, status, uptime
from gpu_mesh.domain import causes, state
from gpu_mesh.domain.alert import Level, Muted, Notified
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.gpu import GpuFacts, NodeGpu
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.recovery import Attempt, Claim, Drain, Outcome, Reboot

NODE = plain("iceland", name="Iceland")

OK, FAIL, CPU = "ok", "fail", "cpu"
ICONS = {"⚪": "unknown", "🟢": "healthy", "🟡": "degraded", "🔴": "unhealthy", "⚫": "offline"}


def seen(what: str, at: float) -> Observation:
    if what == FAIL:
        return fails("iceland", at)
    loaded = [LOADED_ON_CPU] if what == CPU else []
    return answers("iceland", at, *loaded, tags=Reply(status=200, ms=45), models=("a", "b", "c"))


def walk(checks: str, node: Node = NODE, start: float = NOW) -> tuple[str, list[str]]:
    """Walk "ok fail cpu …" 30 s apart; return each check's icon, and each alert with its check's number."""
    mesh_state, icons, told = state.State(), [], []
    mesh = Mesh((node,), Settings(grace=0))
    for number, what in enumerate(checks.split(), start=1):
        at, before = start + 30.0 * number, mesh_state.next_alert
        icons.append(evaluate.apply_observation(mesh_state, node, seen(what, at)).after.status.icon)
        announce(mesh_state, mesh, at)
        raised = [alert for alert in mesh_state.alerts if alert.id >= before]
        told += [f"{number} {alerts.one_line(alert)}" for alert in raised]
    return " ".join(icons), told


TIMEOUT = "Timeout (10s)"
ON_CPU = "A model runs on the CPU (a, 0% in VRAM)"
STORIES = {
    "the first healthy sight of a node is news to nobody": ("ok ok", "🟢 🟢", []),
    "a failing node goes from degraded over unhealthy to offline, and each step is told once": (
        "ok fail fail fail fail fail fail fail",
        "🟢 🟡 🟡 🔴 🔴 ⚫ ⚫ ⚫",
        [
            f"2 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            f"4 ❌ [ERROR] Iceland: unhealthy after 3 failures: {TIMEOUT}",
            f"6 🚨 [CRITICAL] Iceland: offline after 5 failures: {TIMEOUT}",
        ],
    ),
    "a node that comes back says after how long, how fast and with how many models": (
        "ok fail fail ok ok",
        "🟢 🟡 🟡 🟢 🟢",
        [
            f"2 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            "4 ℹ️ [INFO] Iceland: recovered after 1 min: 45 ms, 3 models",
        ],
    ),
    "two incidents are two stories": (
        "ok fail ok fail ok",
        "🟢 🟡 🟢 🟡 🟢",
        [
            f"2 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            "3 ℹ️ [INFO] Iceland: recovered after 30 s: 45 ms, 3 models",
            f"4 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            "5 ℹ️ [INFO] Iceland: recovered after 30 s: 45 ms, 3 models",
        ],
    ),
    "a node that was never healthy is told of as it fails": (
        "fail fail fail",
        "🟡 🟡 🔴",
        [
            f"1 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            f"3 ❌ [ERROR] Iceland: unhealthy after 3 failures: {TIMEOUT}",
        ],
    ),
    "an impairment shows at once, is told once it has lasted, and never climbs": (
        "ok cpu cpu cpu cpu cpu cpu cpu",
        "🟢 🟡 🟡 🟡 🟡 🟡 🟡 🟡",
        [f"4 ⚠️ [WARNING] Iceland: degraded: {ON_CPU}"],
    ),
    "an impairment that passes before it is told leaves nothing to take back": (
        "ok cpu cpu ok",
        "🟢 🟡 🟡 🟢",
        [],
    ),
    "failures interrupted by an impaired answer start again": (
        "ok fail fail cpu fail fail",
        "🟢 🟡 🟡 🟡 🟡 🟡",
        [f"2 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}"],
    ),
    "an impairment that follows a told failure is told once it has lasted": (
        "ok fail cpu cpu cpu cpu cpu",
        "🟢 🟡 🟡 🟡 🟡 🟡 🟡",
        [f"2 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}", f"5 ⚠️ [WARNING] Iceland: degraded: {ON_CPU}"],
    ),
    "an untold impairment that turns into a failure is told": (
        "ok cpu fail ok",
        "🟢 🟡 🟡 🟢",
        [
            f"3 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            "4 ℹ️ [INFO] Iceland: recovered after 1 min: 45 ms, 3 models",
        ],
    ),
    "an offline node that answers again but impaired is told at once, and its end too": (
        "fail fail fail fail fail cpu ok",
        "🟡 🟡 🔴 🔴 ⚫ 🟡 🟢",
        [
            f"1 ⚠️ [WARNING] Iceland: degraded: {TIMEOUT}",
            f"3 ❌ [ERROR] Iceland: unhealthy after 3 failures: {TIMEOUT}",
            f"5 🚨 [CRITICAL] Iceland: offline after 5 failures: {TIMEOUT}",
            f"6 ⚠️ [WARNING] Iceland: answers again (45 ms, 3 models), but is degraded: {ON_CPU}",
            "7 ℹ️ [INFO] Iceland: recovered after 3 min: 45 ms, 3 models",
        ],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_the_status_walk(story: str) -> None:
    checks, icons, told = STORIES[story]
    assert walk(checks) == (icons, told)


def test_with_a_healthy_threshold_of_two_one_good_answer_ends_nothing() -> None:
    node = replace(NODE, healthy_threshold=2)
    icons, told = walk("ok ok fail fail fail ok fail fail ok ok", node)
    assert icons == "🟢 🟢 🟡 🟡 🔴 🔴 🔴 ⚫ ⚫ 🟢"
    assert [line.split("]")[0] for line in told] == [
        "3 ⚠️ [WARNING",
        "5 ❌ [ERROR",
        "8 🚨 [CRITICAL",
        "10 ℹ️ [INFO",
    ]


def test_thresholds_are_the_nodes_own() -> None:
    node = replace(NODE, unhealthy_threshold=1, offline_threshold=2)
    assert walk("fail fail", node)[0] == "🔴 ⚫"


def test_recoveries_of_the_last_hour_still_count_in_the_next_incident_and_older_ones_do_not() -> None:
    old, new = (Attempt(NOW - age, Action.RESTART_OLLAMA, Outcome.RECOVERED) for age in (3700, 60))
    mesh_state = state.State(
        nodes={"iceland": state.NodeState(recovery=state.NodeRecovery(attempts=(old, new)))}
    )
    assert evaluate.apply_observation(mesh_state, NODE, seen(OK, NOW)).after.recovery.attempts == (new,)


def test_what_a_node_said_before_it_failed_is_remembered() -> None:
    mesh_state = state.State()
    evaluate.apply_observation(mesh_state, NODE, seen(OK, NOW))
    after = evaluate.apply_observation(mesh_state, NODE, seen(FAIL, NOW + 30)).after
    assert (after.models, after.response_ms, after.last_ok) == (("a", "b", "c"), 45, NOW)


def test_the_alert_names_cause_next_step_and_the_nodes_own_tags() -> None:
    node = replace(NODE, alert_tags=("night",), groups=("rented",))
    mesh_state = state.State()
    evaluate.apply_observation(mesh_state, node, seen(FAIL, NOW + 30))
    announce(mesh_state, Mesh((node,), Settings(grace=0)), NOW + 30)
    (alert,) = mesh_state.alerts
    assert alert.cause is causes.Cause.TIMEOUT
    assert alert.next_step == "see whether Ollama hangs: sudo journalctl -u ollama.service on iceland"
    assert alert.tags == ("night", "rented", "iceland")


checks = st.lists(st.sampled_from([OK, FAIL, CPU]), max_size=60).map(" ".join)
thresholds = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)).map(
    lambda t: plain(
        "iceland",
        name="Iceland",
        url="http://10.0.0.7:11434",
        unhealthy_threshold=t[0],
        offline_threshold=t[0] + t[1],
        healthy_threshold=t[2],
    )
)


@given(checks, thresholds)
def test_whatever_happens_every_status_follows_from_the_failures_left(story: str, node: Node) -> None:
    mesh_state = state.State()
    failures = served = 0
    for number, what in enumerate(story.split()):
        after = evaluate.apply_observation(mesh_state, node, seen(what, NOW + 30.0 * number)).after
        served = 0 if what == FAIL else served + 1
        failures = failures + 1 if what == FAIL else 0 if served >= node.healthy_threshold else failures
        expected = (
            "offline" if failures >= node.offline_threshold
            else "unhealthy" if failures >= node.unhealthy_threshold
            else "degraded" if failures or what == CPU
            else "healthy"
        )  # fmt: skip
        assert after.status == expected


@given(checks, thresholds)
def test_whatever_happens_no_incident_that_was_told_ends_untold_and_no_end_is_told_twice(
    story: str, node: Node
) -> None:
    mesh_state, open_incident = state.State(), False
    mesh = Mesh((node,), Settings(grace=0))
    for number, what in enumerate(story.split()):
        at, before = NOW + 30.0 * number, mesh_state.next_alert
        after = evaluate.apply_observation(mesh_state, node, seen(what, at)).after
        announce(mesh_state, mesh, at)
        for alert in mesh_state.alerts:
            if alert.id < before or alert.muted:
                continue
            if alert.level is Level.INFO:
                assert open_incident
                open_incident = False
            else:
                open_incident = True
        if after.status is Status.HEALTHY and not after.alerting.flapping:
            assert not open_incident


@given(checks)
def test_the_score_is_the_weighted_mean_of_the_checks(story: str) -> None:
    mesh_state = state.State()
    values = []
    for number, what in enumerate(story.split()):
        evaluate.apply_observation(mesh_state, NODE, seen(what, NOW + 30.0 * number))
        values.append({OK: 1.0, CPU: 0.5, FAIL: 0.0}[what])
    if not values:
        return
    weights = [0.5 ** ((len(values) - 1 - place) / 120) for place in range(len(values))]
    expected = 100 * sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert uptime.score(mesh_state.nodes["iceland"]) == pytest.approx(expected)


def test_the_largest_share_of_vram_is_remembered_for_the_models_that_were_loaded_last() -> None:
    mesh_state = state.State()

    def after(*loaded: LoadedModel) -> dict[str, float]:
        evaluate.apply_observation(mesh_state, NODE, answers("iceland", NOW, *loaded))
        return mesh_state.nodes["iceland"].vram

    loaded = LoadedModel("none", 100, 0), LoadedModel("odd"), LoadedModel("a", 100, 80)
    after(*loaded)
    assert after(*loaded) == {"a:latest": 0.8}
    assert after(LoadedModel("a", 100, 40)) == {"a:latest": 0.8}
    assert after() == {"a:latest": 0.8}
    others = [LoadedModel(f"m{number}", 100, 100) for number in range(status.VRAM_REMEMBERED)]
    after(*others)
    many = after(*others)
    assert len(many) == status.VRAM_REMEMBERED
    assert "a:latest" not in many


def test_what_a_node_said_of_its_models_stays_while_it_fails_and_while_one_loads() -> None:
    mesh_state = state.State()
    model = LoadedModel("a", 100, 40, NOW + 300, 4096)
    hangs = Reply(Fault.READ_TIMEOUT)
    for sight, loaded, cloud in (
        (answers("iceland", NOW, model, cloud_models=("c",)), (model,), ("c",)),
        (fails("iceland", NOW + 30), (model,), ("c",)),
        (answers("iceland", NOW + 60, ps=hangs), (model,), ()),
        (answers("iceland", NOW + 90), (), ()),
    ):
        evaluate.apply_observation(mesh_state, NODE, sight)
        known = mesh_state.nodes["iceland"]
        assert (known.loaded, known.cloud_models) == (loaded, cloud)


def test_a_node_runs_on_its_cpu_only_until_a_model_is_seen_in_vram() -> None:
    mesh_state, said = state.State(), []
    for loaded in ((), ("cpu",), (), ("gpu",), ("gpu",), ("cpu",)):
        models = (LoadedModel(name, 100, 100 if name == "gpu" else 0) for name in loaded)
        evaluate.apply_observation(mesh_state, NODE, answers("iceland", NOW, *models))
        said.append(mesh_state.nodes["iceland"].cpu_only)
    assert said == [False, True, True, True, False, False]


def test_the_sizes_that_ollama_gives_before_it_knows_them_are_not_usual() -> None:
    mesh_state = state.State()
    for share in (100, 40, 40):
        evaluate.apply_observation(mesh_state, NODE, answers("iceland", NOW, LoadedModel("a", 100, share)))
    known = mesh_state.nodes["iceland"]
    assert (known.vram, known.cause) == ({"a:latest": 0.4}, None)


def after(known: state.NodeState, sight: Observation, node: Node = NODE) -> state.NodeState:
    mesh_state = state.State(nodes={"iceland": known})
    return evaluate.apply_observation(mesh_state, node, sight).after


KEPT = state.NodeRecovery(
    claim=Claim(NOW, NOW + 300, 7, Action.RESTART_OLLAMA),
    attempts=(Attempt(NOW, Action.RESTART_OLLAMA, Outcome.FAILED),),
    recoveries={"restart_ollama": {Outcome.FAILED: 1}},
    drain=Drain(NOW, NOW + 60),
)
ALWAYS_KEPT = state.NodeState(
    first_check=NOW - 9000,
    last_check=NOW,
    last_ok=NOW - 600,
    response_ms=40.0,
    models=("a",),
    had_models=1,
    version="0.12.6",
    version_at=NOW - 60,
    statistics=state.NodeStatistics(checks=9, successes=4),
    alerting=state.NodeAlerting(without_gpu=True),
    recovery=KEPT,
)
OF_THE_INCIDENT = {
    "status": Status.OFFLINE,
    "since": NOW - 300,
    "verdict": Verdict.FAILED,
    "cause": causes.Cause.REFUSED,
    "refined_from": causes.Cause.TIMEOUT,
    "detail": "Timeout (10s)",
    "cause_since": NOW - 400,
    "failures": 7,
    "failing_since": NOW - 400,
    "served": 2,
    "impaired": 2,
    "incident_since": NOW - 400,
    "last_incident": NOW - 9000,
    "loading_since": NOW - 400,
}


def test_a_node_that_is_watched_anew_keeps_its_figures_and_attempts_and_nothing_of_its_incident() -> None:
    told = Notified(NOW, Status.OFFLINE, Verdict.FAILED, NOW - 400)
    alerting = state.NodeAlerting(told, Muted.DEPENDENCY, "b", 5, flapping=True, without_gpu=True)
    recovery = replace(KEPT, called_at=NOW, reboot=Reboot(NOW, NOW + 600))
    known = replace(ALWAYS_KEPT, alerting=alerting, recovery=recovery, **OF_THE_INCIDENT)
    assert status.anew(known) == ALWAYS_KEPT
    assert status.anew(replace(known, alerting=state.NodeAlerting())).alerting.without_gpu is False


@pytest.mark.parametrize(
    ("open_since", "what", "last"),
    [(NOW - 90, OK, NOW - 90), (NOW - 90, FAIL, NOW - 5000), (0.0, OK, NOW - 5000), (0.0, CPU, NOW - 5000)],
)
def test_the_newest_incident_that_is_over_is_remembered_once_it_is_over(
    open_since: float, what: str, last: float
) -> None:
    known = state.NodeState(incident_since=open_since, last_incident=NOW - 5000)
    assert after(known, seen(what, NOW)).last_incident == last


def test_the_first_check_of_a_node_is_no_turn_and_the_second_may_be_one() -> None:
    first = after(state.NodeState(), seen(FAIL, NOW))
    assert first.alerting.turns == 0
    assert after(first, seen(OK, NOW + 30)).alerting.turns == 1


def test_without_a_cause_there_is_no_time_since_when_it_is_so() -> None:
    failing = after(state.NodeState(), seen(FAIL, NOW))
    assert failing.cause_since == NOW
    assert after(failing, seen(OK, NOW + 30)).cause_since == 0.0


def test_a_reboot_that_no_look_has_confirmed_is_over_at_its_end_if_the_node_serves() -> None:
    reboot = Reboot(NOW - 600, NOW)
    known = state.NodeState(recovery=state.NodeRecovery(reboot=reboot, called_at=NOW - 600))
    assert after(known, seen(OK, NOW - 1)).recovery.reboot == reboot
    assert after(known, seen(FAIL, NOW)).recovery.reboot == reboot
    healthy = after(known, seen(OK, NOW)).recovery
    assert (healthy.reboot, healthy.called_at) == (None, 0.0)
    assert after(known, seen(CPU, NOW)).recovery.called_at == NOW - 600, "its incident is not over"


def test_a_loaded_model_proves_only_the_attempts_that_nothing_has_proved() -> None:
    tried = (
        Attempt(NOW - 90, Action.RESTART_OLLAMA, Outcome.FAILED),
        Attempt(NOW - 60, Action.RESTART_OLLAMA, Outcome.UNPROVED),
    )
    model = LoadedModel("a", 100, 100)
    known = state.NodeState(loaded=(model,), recovery=state.NodeRecovery(attempts=tried))
    proved = after(known, answers("iceland", NOW, model)).recovery.attempts
    assert [attempt.outcome for attempt in proved] == [Outcome.FAILED, Outcome.RECOVERED]


@pytest.mark.parametrize(("age", "kept"), [(3599, True), (3600, False)])
def test_an_attempt_of_a_closed_incident_counts_for_an_hour(age: float, kept: bool) -> None:
    attempt = Attempt(NOW - age, Action.RESTART_OLLAMA, Outcome.RECOVERED)
    known = state.NodeState(recovery=state.NodeRecovery(attempts=(attempt,)))
    assert after(known, seen(OK, NOW)).recovery.attempts == ((attempt,) if kept else ())


def test_the_version_stays_known_while_it_is_not_asked_for() -> None:
    asked = after(state.NodeState(), answers("iceland", NOW, version="0.12.6"))
    later = after(asked, answers("iceland", NOW + 30))
    assert (later.version, later.version_at) == ("0.12.6", NOW)
    newer = after(later, answers("iceland", NOW + 60, version="0.12.7"))
    assert (newer.version, newer.version_at) == ("0.12.7", NOW + 60)


def test_a_model_that_is_seen_for_the_first_time_hides_no_usual_share_of_those_after_it() -> None:
    new, known = LoadedModel("new", 100, 100), LoadedModel("a", 100, 80)
    listed = after(state.NodeState(), answers("iceland", NOW, known))
    assert after(listed, answers("iceland", NOW + 30, new, known)).vram == {"a:latest": 0.8}


def test_a_node_that_was_down_is_to_be_looked_at_anew() -> None:
    seen_before = NodeGpu(GpuFacts(at=NOW - 600))
    known = state.NodeState(status=Status.OFFLINE, failures=5, gpu=seen_before, gpu_looked_at=NOW - 600)
    back = after(known, seen(OK, NOW))
    assert (back.gpu, back.gpu_looked_at) == (replace(seen_before, outdated=True), 0.0)


def test_what_a_deep_check_left_is_remembered_and_kept_while_a_model_loads() -> None:
    model = LoadedModel("a", 100, 100, NOW + 300, 4096)
    deep = {"deep": Reply(status=200, ms=9), "deep_model": "a", "node_clock": NOW}
    asked = after(state.NodeState(), answers("iceland", NOW, model, **deep))
    assert asked.deep_at == NOW
    assert asked.deep_checked.keys() == {"a"}
    loads = after(asked, answers("iceland", NOW + 30, ps=Reply(Fault.READ_TIMEOUT)))
    assert (loads.deep_checked, loads.deep_at) == (asked.deep_checked, NOW)
    used = replace(model, expires_at=NOW + 900)  # somebody's request has finished
    quiet = after(state.NodeState(), answers("iceland", NOW, model))
    assert quiet.deep_at == 0.0
    assert after(quiet, answers("iceland", NOW + 60, used)).deep_at == NOW + 60


def test_that_a_deep_check_loaded_a_model_anew_is_remembered() -> None:
    model = LoadedModel("a", 100, 100, NOW + 300, 4096)
    unanswered = {
        "deep": Reply(Fault.READ_TIMEOUT),
        "deep_model": "a",
        "deep_excused": True,
        "deep_loads": True,
    }
    assert after(state.NodeState(), answers("iceland", NOW, model, **unanswered)).deep_reloads != {}


def test_only_a_model_with_a_size_shows_that_the_node_runs_on_its_cpu() -> None:
    for model, on_cpu in (
        (LoadedModel("a"), False),
        (LoadedModel("a", 9, 9), False),
        (LoadedModel("a", 9), True),
    ):
        assert after(state.NodeState(), answers("iceland", NOW, model)).cpu_only is on_cpu
