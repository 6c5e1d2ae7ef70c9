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
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply
from gpu_mesh.domain.recovery import Attempt, Outcome

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
