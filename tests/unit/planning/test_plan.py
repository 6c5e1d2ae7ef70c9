"""Who gets a recovery, and who gets none for which stated reason."""

import pytest
from msgspec.structs import replace

from factories import GPU1, POD, refusing
from gpu_mesh.alerting import recovery_alerts
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Action, Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.domain.recovery import Attempt, Claim, Finding, Outcome, RecoveryResult
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import claims, findings, plan
from gpu_mesh.recovery import lifecycle
from gpu_mesh.storage.rebase import rebase
from gpu_mesh.storage.state_file import decode, encode

NOW = 1_700_000_000.0
BELOW_A_PATH = replace(POD, url=f"{POD.url}/ollama")
HANDS_OFF = replace(GPU1, recovery=RecoveryKind.NONE)
LOG = "sudo journalctl -u ollama.service"
RESTART, REBUILD, NONE = Action.RESTART_OLLAMA, Action.REBUILD_TUNNEL, Action.NONE
DOWN = refusing(NOW - 90)


def attempt(ago: float, outcome: Outcome = Outcome.FAILED, finding: str = "") -> Attempt:
    return Attempt(NOW - ago, RESTART, outcome, finding)


def decided(node: Node, known: NodeState, *, force: bool = False) -> tuple[Action, str]:
    mesh = Mesh((node,))
    (decision,) = plan.plan(mesh, State(nodes={node.key: known}), NOW, node.key if force else "", force=force)
    return decision.action, decision.reason


@pytest.mark.parametrize(
    ("node", "cause", "action"),
    [
        (GPU1, Cause.REFUSED, RESTART),
        (GPU1, Cause.TIMEOUT, RESTART),
        (GPU1, Cause.HTTP_ERROR, RESTART),
        (POD, Cause.REMOTE_OLLAMA_DOWN, RESTART),
        (POD, Cause.TUNNEL_DOWN, REBUILD),
        (POD, Cause.TUNNEL_STUCK, RESTART),  # its look tells a stuck tunnel from a hanging Ollama
        (replace(POD, recovery=RecoveryKind.NONE), Cause.TUNNEL_STUCK, REBUILD),
        (replace(POD, recovery=RecoveryKind.NONE), Cause.REMOTE_OLLAMA_DOWN, NONE),
        (HANDS_OFF, Cause.REFUSED, NONE),
        (GPU1, Cause.FORBIDDEN, NONE),
        (GPU1, Cause.NOT_OLLAMA, NONE),
        (GPU1, Cause.TLS, NONE),
        (GPU1, Cause.DNS, NONE),
        (GPU1, Cause.HOST_DOWN, NONE),
        (GPU1, Cause.NO_ACCESS, NONE),
        (GPU1, Cause.NOT_EXPOSED, NONE),
        (GPU1, None, NONE),
    ],
)
def test_a_failing_node_gets_what_helps_its_cause(node: Node, cause: Cause | None, action: Action) -> None:
    assert decided(node, replace(DOWN, cause=cause))[0] is action


@pytest.mark.parametrize(
    ("node", "known", "reason"),
    [
        (GPU1, NodeState(), "it has not been checked yet"),
        (GPU1, NodeState(status=Status.HEALTHY), "healthy"),
        (
            GPU1,
            replace(DOWN, status=Status.DEGRADED, failures=2),
            "below the threshold: 2 of 3 consecutive failures",
        ),
        (
            GPU1,
            replace(DOWN, cause=Cause.TLS),
            (
                "TLS error: a restart does not help; renew the certificate of http://gpu1:11434, "
                "or name its CA in mesh_node_ca_file"
            ),
        ),
        (
            HANDS_OFF,
            DOWN,
            "mesh_node_recovery is none; see why Ollama stopped: its log on gpu1",
        ),
        (
            GPU1,
            replace(DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW - 20, NOW + 100, 4711, RESTART))),
            "a recovery is under way since 22:13:00 UTC (process 4711)",
        ),
        (
            GPU1,
            replace(
                DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(900), attempt(600), attempt(300)))
            ),
            (
                "3 of 3 attempts made: needs a person, the next attempt is due at 23:08 UTC; "
                "see why Ollama stopped: sudo journalctl -u ollama.service on gpu1"
            ),
        ),
        (
            GPU1,
            replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(20),))),
            "next attempt in 45 s (22:14:05 UTC), after attempt 1",
        ),
        (
            GPU1,
            replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(300), attempt(100)))),
            "next attempt in 26 s (22:13:45 UTC), after attempt 2",
        ),
    ],
)
def test_doing_nothing_has_a_stated_reason(node: Node, known: NodeState, reason: str) -> None:
    assert decided(node, known) == (NONE, reason)


@pytest.mark.parametrize(
    "known",
    [
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(66),))),
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(300), attempt(132)))),
        replace(
            DOWN,
            status=Status.OFFLINE,
            recovery=replace(DOWN.recovery, attempts=(attempt(4000, Outcome.DECLINED),) * 9),
        ),
    ],
    ids=["after the first wait", "after the doubled wait", "what was declined is not counted"],
)
def test_a_node_whose_wait_is_over_gets_another_attempt(known: NodeState) -> None:
    assert decided(GPU1, known) == (RESTART, "Connection refused")


@pytest.mark.parametrize(
    "known",
    [
        NodeState(status=Status.HEALTHY),
        replace(DOWN, status=Status.DEGRADED, failures=1),
        replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(3), attempt(2), attempt(1)))),
        replace(DOWN, cause=Cause.TLS),
    ],
    ids=["healthy", "degraded", "attempts used up", "another cause"],
)
def test_a_person_who_insists_gets_a_recovery_which_still_looks_first(known: NodeState) -> None:
    assert decided(GPU1, known, force=True)[0] is RESTART


def test_insisting_overrides_neither_a_recovery_under_way_nor_an_owner_who_forbids_it() -> None:
    under_way = replace(DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW - 1, NOW + 1, 1, RESTART)))
    assert decided(GPU1, under_way, force=True)[0] is NONE
    assert decided(HANDS_OFF, DOWN, force=True)[0] is NONE


def test_a_claim_that_expired_counts_as_a_lost_attempt() -> None:
    dead = replace(DOWN, recovery=replace(DOWN.recovery, claim=Claim(NOW - 100, NOW - 10, 1, RESTART)))
    assert decided(GPU1, dead) == (NONE, "next attempt in 55 s (22:14:15 UTC), after attempt 1")
    settled = claims.expire(dead, NOW)
    assert settled.recovery.claim is None
    assert settled.recovery.attempts == (Attempt(NOW - 10, RESTART, Outcome.LOST, cause=Cause.REFUSED),)


def test_a_node_that_is_not_enabled_is_left_out_unless_it_is_named() -> None:
    mesh = Mesh((replace(GPU1, enabled=False), POD))
    assert [each.node for each in plan.plan(mesh, State(), NOW)] == ["pod"]
    assert [each.node for each in plan.plan(mesh, State(), NOW, "gpu1")] == ["gpu1"]


@pytest.mark.parametrize(
    ("node", "cause", "finding", "refined", "then"),
    [
        (GPU1, Cause.REFUSED, Finding.ANSWERS, Cause.NOT_EXPOSED, NONE),
        (GPU1, Cause.TIMEOUT, Finding.ANSWERS, Cause.NOT_EXPOSED, NONE),
        (GPU1, Cause.HTTP_ERROR, Finding.ANSWERS, Cause.NOT_EXPOSED, NONE),
        (GPU1, Cause.REFUSED, Finding.SILENT, Cause.REFUSED, NONE),
        (GPU1, Cause.TIMEOUT, Finding.HOST_DOWN, Cause.HOST_DOWN, NONE),
        (GPU1, Cause.TIMEOUT, Finding.NO_ACCESS, Cause.NO_ACCESS, NONE),
        (GPU1, Cause.REFUSED, Finding.UNIT_DISABLED, Cause.REFUSED, NONE),
        (GPU1, Cause.TLS, Finding.ANSWERS, Cause.TLS, NONE),
        (POD, Cause.TUNNEL_STUCK, Finding.ANSWERS, Cause.TUNNEL_STUCK, REBUILD),
        (POD, Cause.REMOTE_OLLAMA_DOWN, Finding.ANSWERS, Cause.TUNNEL_STUCK, REBUILD),
        (POD, Cause.TUNNEL_STUCK, Finding.SILENT, Cause.TIMEOUT, NONE),
        (POD, Cause.TUNNEL_STUCK, Finding.HOST_DOWN, Cause.HOST_DOWN, NONE),
        # A status came back through it, so the tunnel works.
        (POD, Cause.HTTP_ERROR, Finding.ANSWERS, Cause.NOT_EXPOSED, NONE),
        # The tunnel leads to a proxy, and that is what closes the connection.
        (BELOW_A_PATH, Cause.REMOTE_OLLAMA_DOWN, Finding.ANSWERS, Cause.NOT_EXPOSED, NONE),
        (BELOW_A_PATH, Cause.REMOTE_OLLAMA_DOWN, Finding.SILENT, Cause.REMOTE_OLLAMA_DOWN, NONE),
    ],
)
def test_the_look_makes_the_cause_precise(
    node: Node, cause: Cause, finding: Finding, refined: Cause, then: Action
) -> None:
    assert findings.refine(node, cause, finding) is refined
    assert findings.follow_up(node, refined, finding) is then


def test_a_claim_ends_with_its_own_attempt_and_leaves_somebody_elses_alone() -> None:
    mine = claims.claimed(DOWN, RESTART, NOW, 60, 1)
    assert mine.recovery.claim is not None
    after = claims.released(mine, mine.recovery.claim, attempt(0))
    assert (after.recovery.claim, after.recovery.attempts) == (None, (attempt(0),))
    other = replace(mine, recovery=replace(mine.recovery, claim=Claim(NOW + 61, NOW + 121, 2, RESTART)))
    assert claims.released(other, mine.recovery.claim, attempt(0)).recovery.claim == other.recovery.claim


def test_every_recovery_that_has_ended_is_counted_though_attempts_are_forgotten() -> None:
    own = replace(attempt(0, Outcome.FAILED), playbook="/etc/gpu-mesh/reload driver.yml")
    known = replace(DOWN, status=Status.HEALTHY, failures=0, incident_since=0.0)
    for each in (attempt(0), attempt(0), attempt(0, Outcome.DECLINED), own):
        mine = claims.claimed(known, RESTART, NOW, 60, 1)
        assert mine.recovery.claim is not None
        known = claims.released(mine, mine.recovery.claim, each)
    assert known.recovery.attempts == ()
    dead = claims.expire(claims.claimed(known, RESTART, NOW, 60, 1), NOW + 61)
    assert claims.expire(dead, NOW + 61) == dead
    assert decode(encode(State(nodes={"gpu1": dead}))).nodes["gpu1"].recovery.recoveries == {
        "restart_ollama": {Outcome.FAILED: 2, Outcome.DECLINED: 1, Outcome.LOST: 1},
        "reload driver.yml": {Outcome.FAILED: 1},
    }


def test_an_attempt_on_a_node_that_came_back_meanwhile_burdens_no_later_incident() -> None:
    mine = claims.claimed(DOWN, RESTART, NOW, 60, 1)
    assert mine.recovery.claim is not None
    back = replace(mine, status=Status.HEALTHY, failures=0, incident_since=0.0)
    assert claims.released(back, mine.recovery.claim, attempt(0)).recovery.attempts == ()


def test_a_long_incident_keeps_the_attempts_that_touched_something() -> None:
    known = replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(9_999),)))
    for _ in range(100):
        claim = Claim(NOW, NOW + 1, 1, RESTART)
        known = claims.released(
            replace(known, recovery=replace(known.recovery, claim=claim)), claim, attempt(0, Outcome.DECLINED)
        )
    assert len(known.recovery.attempts) == claims.KEPT_ATTEMPTS
    assert known.recovery.attempts[0] == attempt(9_999)


@pytest.mark.parametrize(
    ("known", "ending", "level", "text", "step"),
    [
        (
            DOWN,
            RecoveryResult(NOW, RESTART, Outcome.FAILED, Finding.SILENT, Cause.REFUSED, "no such unit"),
            Level.WARNING,
            "restart of ollama.service failed (attempt 1 of 3): no such unit",
            (
                "nothing yet: the next attempt is due at 22:14:25 UTC; "
                "or see why Ollama stopped: sudo journalctl -u ollama.service on gpu1"
            ),
        ),
        (
            replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(300), attempt(200)))),
            RecoveryResult(
                NOW, RESTART, Outcome.NOT_RECOVERED, Finding.SILENT, Cause.REFUSED, "restarted; but Timeout"
            ),
            Level.CRITICAL,
            "needs you: restart of ollama.service did not help (attempt 3 of 3): restarted; but Timeout",
            f"see why Ollama stopped: {LOG} on gpu1; tried again every 1 h meanwhile",
        ),
        (
            DOWN,
            RecoveryResult(
                NOW, RESTART, Outcome.DECLINED, Finding.ANSWERS, Cause.NOT_EXPOSED, "it answers there"
            ),
            Level.ERROR,
            "not restarted: Ollama answers on its own host, but not at http://gpu1:11434: it answers there",
            "set OLLAMA_HOST=0.0.0.0 for ollama.service on gpu1, or open port 11434 in its firewall",
        ),
        (
            DOWN,
            RecoveryResult(
                NOW, RESTART, Outcome.DECLINED, Finding.UNIT_DISABLED, Cause.REFUSED, "left alone"
            ),
            Level.ERROR,
            "not restarted: Connection refused: left alone",
            (
                "if it should run: sudo systemctl enable --now ollama.service on the host of gpu1; "
                "if not: mesh_node_enabled: false"
            ),
        ),
    ],
)
def test_a_recovery_that_did_not_help_says_what_was_tried_and_what_is_next(
    known: NodeState, ending: RecoveryResult, level: Level, text: str, step: str
) -> None:
    alert = recovery_alerts.alert_of(GPU1, Settings(), known, ending)
    assert alert is not None
    assert (alert.level, alert.text, alert.next_step) == (level, text, step)
    assert (alert.node, alert.name) == ("gpu1", "GPU one")


def test_what_was_declined_is_told_of_once_in_an_incident() -> None:
    ending = RecoveryResult(
        NOW, RESTART, Outcome.DECLINED, Finding.ANSWERS, Cause.NOT_EXPOSED, "it answers there"
    )
    again = replace(
        DOWN,
        recovery=replace(DOWN.recovery, attempts=(attempt(60, Outcome.DECLINED, "answers_on_its_host"),)),
    )
    assert recovery_alerts.alert_of(GPU1, Settings(), again, ending) is None
    other = replace(
        DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(60, Outcome.DECLINED, "unit_disabled"),))
    )
    assert recovery_alerts.alert_of(GPU1, Settings(), other, ending) is not None


def test_the_refined_cause_becomes_the_nodes() -> None:
    claimed = claims.claimed(DOWN, RESTART, NOW, 60, 1)
    assert claimed.recovery.claim is not None
    ending = RecoveryResult(
        NOW, RESTART, Outcome.DECLINED, Finding.NO_ACCESS, Cause.NO_ACCESS, "Permission denied"
    )
    after = lifecycle._with_result(GPU1, claimed, claimed.recovery.claim, ending)
    assert (after.cause, after.detail) == (
        Cause.NO_ACCESS,
        "Connection refused; ssh answers, but the login fails (Permission denied)",
    )


def test_a_dry_run_says_one_line_a_node() -> None:
    mesh = Mesh((GPU1, POD, replace(GPU1, key="third")))
    state = State(
        nodes={"gpu1": DOWN, "pod": replace(DOWN, cause=Cause.TUNNEL_DOWN, detail="Tunnel down")},
    )
    assert plan.describe(plan.plan(mesh, state, NOW), mesh) == (
        "gpu1   refused: look, then restart of ollama.service: Connection refused\n"
        "pod    tunnel_down: look, then rebuild of the tunnel: Tunnel down\n"
        "third  -: nothing: it has not been checked yet\n"
    )


def test_a_node_that_answers_again_is_not_restarted_before_it_counts_as_healthy() -> None:
    node = replace(GPU1, healthy_threshold=3)
    assert decided(node, replace(DOWN, served=1)) == (NONE, "it answers again: 1 of 3 checks in a row")


def test_an_attempt_from_the_future_makes_nobody_wait_for_longer_than_its_wait() -> None:
    known = replace(DOWN, recovery=replace(DOWN.recovery, attempts=(attempt(-3e7),)))
    state = State(nodes={GPU1.key: known})
    rebase(state, NOW)
    (decision,) = plan.plan(Mesh((GPU1,)), state, NOW)
    assert 0 < decision.due - NOW <= 1.1 * Settings().recovery_backoff


def test_a_claim_from_the_future_holds_nobody_up() -> None:
    claim = Claim(NOW + 3e7, NOW + 3e7 + 100, 4711, RESTART)
    settled = claims.expire(replace(DOWN, recovery=replace(DOWN.recovery, claim=claim)), NOW)
    assert (settled.recovery.claim, settled.recovery.attempts[-1].outcome) == (None, Outcome.LOST)


@pytest.mark.parametrize(
    ("cause", "lasted", "spared"),
    [
        (Cause.CPU_FALLBACK, 9999, True),
        (Cause.STUCK_STOPPING, 9999, True),
        (Cause.RUNNER_HUNG, 90, True),
        (Cause.RUNNER_HUNG, 901, False),
        (Cause.TIMEOUT, 0, False),
        (None, 0, False),
    ],
)
def test_what_a_model_generates_is_spared_where_its_node_serves_or_may_just_be_at_a_long_request(
    cause: Cause | None, lasted: float, spared: bool
) -> None:
    assert findings.spares_work(RESTART, cause, lasted) is spared


def test_a_reboot_spares_what_a_model_generates_unless_its_runner_has_hung_for_long() -> None:
    assert findings.spares_work(Action.REBOOT_HOST, Cause.TIMEOUT, 0)
    assert not findings.spares_work(Action.REBOOT_HOST, Cause.RUNNER_HUNG, 901)


@pytest.mark.parametrize(
    ("cause", "would"),
    [
        (Cause.FORBIDDEN, "look who holds the tunnel's port, and no more"),
        (Cause.TUNNEL_DOWN, "look, then rebuild of the tunnel"),
        (Cause.TUNNEL_STUCK, "look, then restart of ollama.service or rebuild of the tunnel"),
        (Cause.REMOTE_OLLAMA_DOWN, "look, then restart of ollama.service"),
    ],
)
def test_a_dry_run_promises_no_more_than_can_come_of_the_look(cause: Cause, would: str) -> None:
    known = refusing(NOW - 900, status=Status.OFFLINE, cause=cause, detail="x", failures=7)
    mesh = Mesh((POD,), Settings(recovery_brake=0))
    said = plan.describe(plan.plan(mesh, State(nodes={"pod": known}), NOW), mesh)
    assert said == f"pod  {cause}: {would}: x\n"
