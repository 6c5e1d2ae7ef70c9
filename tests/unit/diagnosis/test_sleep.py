"""Stories of nodes that may sleep: what counts and what does not, what people hear, and what always holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import NOW, answers, fails, plain
from gpu_mesh.alerting import alerts
from gpu_mesh.alerting.node_alerts import announce
from gpu_mesh.diagnosis import evaluate, sleep, uptime
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation
from gpu_mesh.domain.recovery import Reboot
from gpu_mesh.domain.state import NodeState, State

MAY_SLEEP = plain("desk", name="Desk", wake_mac="02:00:00:00:00:02", wake_timeout=120.0)
NEVER_SLEEPS = replace(MAY_SLEEP, wake_mac="")
SHOWN = {
    "ok": None,
    "gone": Fault.NO_ROUTE,
    "silent": Fault.CONNECT_TIMEOUT,
    "refused": Fault.REFUSED,
    "hang": Fault.READ_TIMEOUT,
    "reset": Fault.RESET,
    "dns": Fault.DNS,
    "error": Fault.NOT_JSON,
}
ASLEEP = "💤"
EVERY = 30.0


def seen(what: str, at: float) -> Observation:
    fault = SHOWN[what]
    return answers("desk", at, LoadedModel("a", 100, 100)) if fault is None else fails("desk", at, fault)


def walk(checks: str, node: Node = MAY_SLEEP) -> tuple[str, list[str], NodeState]:
    """Walk "ok gone wake …", a check each 30 s; return the icons, the alerts that are sent, and the end."""
    state, mesh = State(), Mesh((node,), Settings(grace=0))
    icons: list[str] = []
    for number, what in enumerate(checks.split()):
        at = NOW + EVERY * number
        if what == "wake":  # between two checks
            state.nodes["desk"] = sleep.woken(state.node("desk"), at - EVERY / 2)
            icons.append("☀")
            continue
        after = evaluate.apply_observation(state, node, seen(what, at)).after
        icons.append(ASLEEP if after.asleep_since else after.status.icon)
        announce(state, mesh, at)
    told = [alerts.one_line(alert) for alert in state.alerts if not alert.muted]
    return " ".join(icons), told, state.node("desk")


GONE = "The host cannot be reached"
STORIES = {
    "a night's sleep is told to nobody": (
        "ok silent gone gone gone gone gone ok",
        "🟢 💤 💤 💤 💤 💤 💤 🟢",
        [],
    ),
    "a node may be asleep from the first check on": (
        "gone gone gone gone gone gone",
        "💤 💤 💤 💤 💤 💤",
        [],
    ),
    "a host that refuses is awake, and its failures count as ever": (
        "ok gone refused refused refused refused refused",
        "🟢 💤 🟡 🟡 🔴 🔴 ⚫",
        [
            "⚠️ [WARNING] Desk: degraded: Connection refused",
            "❌ [ERROR] Desk: unhealthy after 3 failures: Connection refused",
            "🚨 [CRITICAL] Desk: offline after 5 failures: Connection refused",
        ],
    ),
    "a host that takes the connection and hangs is awake": (
        "ok hang hang hang",
        "🟢 🟡 🟡 🔴",
        [
            "⚠️ [WARNING] Desk: degraded: Timeout (10s)",
            "❌ [ERROR] Desk: unhealthy after 3 failures: Timeout (10s)",
        ],
    ),
    "a sleep ends the failures in a row": (
        "ok refused refused gone refused refused ok",
        "🟢 🟡 🟡 💤 🟡 🟡 🟢",
        None,
    ),
    "who heard of trouble before the sleep hears of its end after it": (
        "ok refused refused refused gone gone ok",
        "🟢 🟡 🟡 🔴 💤 💤 🟢",
        [
            "⚠️ [WARNING] Desk: degraded: Connection refused",
            "❌ [ERROR] Desk: unhealthy after 3 failures: Connection refused",
            "ℹ️ [INFO] Desk: recovered after 2 min 30 s: 40 ms, 1 model",
        ],
    ),
    "a node that is woken in time is told to nobody": (
        "ok gone wake gone gone gone ok",
        "🟢 💤 ☀ 💤 💤 💤 🟢",
        [],
    ),
    "a node that does not wake counts as gone once its time is over": (
        "ok gone wake gone gone gone gone gone gone gone gone gone",
        "🟢 💤 ☀ 💤 💤 💤 🟡 🟡 🔴 🔴 ⚫ ⚫",
        [
            f"⚠️ [WARNING] Desk: degraded: {GONE}",
            f"❌ [ERROR] Desk: unhealthy after 3 failures: {GONE}",
            f"🚨 [CRITICAL] Desk: offline after 5 failures: {GONE}",
        ],
    ),
    "waking it again puts nothing off": (
        "ok gone wake gone gone gone wake gone gone gone",
        "🟢 💤 ☀ 💤 💤 💤 ☀ 🟡 🟡 🔴",
        [f"⚠️ [WARNING] Desk: degraded: {GONE}", f"❌ [ERROR] Desk: unhealthy after 3 failures: {GONE}"],
    ),
    "once it has answered it may sleep again": (
        "ok gone wake gone refused ok gone gone gone gone gone gone",
        "🟢 💤 ☀ 💤 🟡 🟢 💤 💤 💤 💤 💤 💤",
        None,
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_story_of_a_node_that_may_sleep(story: str) -> None:
    checks, icons, told = STORIES[story]
    walked, heard, _ = walk(checks)
    assert walked == icons
    if told is not None:
        assert heard == told


def test_without_the_address_of_its_card_silence_is_a_failure() -> None:
    assert walk("ok gone gone gone gone gone", NEVER_SLEEPS)[0] == "🟢 🟡 🟡 🔴 🔴 ⚫"


@pytest.mark.parametrize("shown", [name for name, fault in SHOWN.items() if fault])
def test_only_a_host_from_which_nothing_comes_is_asleep(shown: str) -> None:
    icons, _, after = walk(f"ok {shown}")
    assert (ASLEEP in icons) is (shown in ("gone", "silent"))
    assert bool(after.asleep_since) is (shown in ("gone", "silent"))


def test_a_sleep_begins_once_and_changes_no_figure_and_no_model() -> None:
    awake, asleep = walk("ok ok")[2], walk("ok ok gone gone")[2]
    assert asleep.asleep_since == NOW + 2 * EVERY
    assert asleep.last_check == NOW + 3 * EVERY
    assert (asleep.statistics, asleep.models, asleep.vram) == (awake.statistics, awake.models, awake.vram)
    assert (asleep.status, asleep.verdict, asleep.cause, asleep.failures) == (Status.UNKNOWN, None, None, 0)
    assert (asleep.loaded, asleep.serves) == ((), False)


def test_what_opened_an_incident_is_over_with_the_sleep() -> None:
    failing, asleep = walk("ok refused refused")[2], walk("ok refused refused gone")[2]
    assert failing.incident_since
    assert (asleep.incident_since, asleep.last_incident) == (0.0, failing.incident_since)


def test_a_host_that_is_being_rebooted_does_not_sleep() -> None:
    state = State()
    evaluate.apply_observation(state, MAY_SLEEP, seen("ok", NOW))
    known = state.node("desk")
    state.nodes["desk"] = replace(known, recovery=replace(known.recovery, reboot=Reboot(NOW, NOW + 600)))
    after = evaluate.apply_observation(state, MAY_SLEEP, seen("gone", NOW + 30)).after
    assert (after.asleep_since, after.failures) == (0.0, 1)


WORDS = st.lists(st.sampled_from([*SHOWN, "wake"]), min_size=1, max_size=40).map(" ".join)


@given(WORDS)
def test_a_node_that_may_sleep_is_judged_as_any_other_by_whatever_it_says(checks: str) -> None:
    """Without silence and without waking, the address of its card changes nothing."""
    heard = " ".join(word for word in checks.split() if word not in ("gone", "silent", "wake")) or "ok"
    assert walk(heard)[:2] == walk(heard, NEVER_SLEEPS)[:2]


@given(WORDS)
def test_asleep_is_always_unknown_and_counts_nowhere(checks: str) -> None:
    node = walk(checks)[2]
    if node.asleep_since:
        assert (node.status, node.verdict, node.failures, node.incident_since) == (
            Status.UNKNOWN,
            None,
            0,
            0.0,
        )
        assert uptime.mesh_health(Mesh((MAY_SLEEP,)), State(nodes={"desk": node})) is None
    else:
        assert node.status is not Status.UNKNOWN or not node.last_check


@given(WORDS)
def test_a_woken_node_that_stays_silent_is_offline_in_the_end(checks: str) -> None:
    icons, _, after = walk(f"{checks} gone wake" + " gone" * 10)
    assert icons.endswith(Status.OFFLINE.icon)
    assert after.woken_at
