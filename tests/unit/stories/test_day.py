"""A day of faults made up from a seed: statuses and alerts are those of tests/reference.py."""

import os
import random
from collections import Counter
from collections.abc import Callable

import pytest

from factories import NOW, answers, behind, fails, plain
from gpu_mesh.delivery import outbox
from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import AlertKind, Level, Silence
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.observation import Fault, Observation, Reply
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.silences import silences
from gpu_mesh.storage.rebase import rebase
from gpu_mesh.storage.state_file import decode, encode
from marks import soak
from reference import Model, Reference

EVERY, TICKS = 30.0, 2880
MAIL_DOWN = range(1200, 1320)  # an hour
USUAL = {"warn_after": None, "expected_models": ("a",)}
NODES = (
    *(plain(f"n{number}", **USUAL) for number in range(4)),
    plain("slow", **{**USUAL, "healthy_threshold": 2, "unhealthy_threshold": 2, "offline_threshold": 4}),
    plain("eager", **{**USUAL, "warn_after": 1}),
    plain("own", on_monitor=True, **USUAL),
    *(behind(f"t{number}", 8080 + number, "pod.example.net", **USUAL) for number in range(3)),
    *(behind(f"u{number}", 8090 + number, "gw.example.net", **USUAL) for number in range(2)),
    plain("parent", **USUAL),
    plain("child", parent="parent", **USUAL),
    plain("grandchild", parent="child", **USUAL),
)
HOSTS = {node.key: node.tunnel.host for node in NODES if node.tunnel}
ABOVE = {node.key: node.parent for node in NODES if node.parent}


def model_of(node: Node) -> Model:
    """Return the node as the model describes it."""
    return Model(
        node.key,
        node.unhealthy_threshold,
        node.offline_threshold,
        node.healthy_threshold,
        node.first_warning(EVERY),
        node.parent,
        HOSTS.get(node.key, ""),
    )


class Faults:
    """What each node shows, check after check: ok, impaired, error (an HTTP status), refuses or hangs."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._left: dict[str, list[str]] = {}
        self._calm = 0  # checks without a new fault, so that long spells of health are in it, too
        for node in self._chance.sample(NODES, 4):  # they were never healthy
            self._fail([node.key], self._chance.choice(["hangs", "impaired"]), self._chance.randint(1, 20))

    def next(self) -> dict[str, str]:
        if self._calm:
            self._calm -= 1
        else:
            for _ in range(self._chance.choice([1, 1, 2, 6])):
                self._begin()
        return {node.key: self._shown(node.key) for node in NODES}

    def _shown(self, key: str) -> str:
        left = self._left.get(key)
        return left.pop() if left else "ok"

    def _begin(self) -> None:
        chance, draw = self._chance, self._chance.random()
        length = chance.choice([1, 1, 2, 2, 3, 4, 5, 6, 9, 15, 40, 120, 900])
        what = chance.choice(["error", "refuses", "hangs", "impaired"])
        if draw < 0.04:
            self._calm = chance.choice([5, 60, 150])
        elif draw < 0.14:
            self._fail([chance.choice(NODES).key], what, length)
        elif draw < 0.17:  # it flaps
            turns = chance.choices(
                ["ok", "ok", "impaired", "hangs", "hangs", "error"], k=chance.randint(8, 40)
            )
            self._left[chance.choice(NODES).key] = turns
        elif draw < 0.19:
            host = chance.choice(sorted({*HOSTS.values()}))
            self._fail([key for key in HOSTS if HOSTS[key] == host], "refuses", length)
        elif draw < 0.21:
            chain = ["parent", "child", "grandchild"]
            self._fail(chain[chance.choice([0, 0, 1]) :], "hangs", length)
        elif draw < 0.215:
            most = chance.sample(NODES, chance.randint(7, len(NODES)))
            self._fail([node.key for node in most], what, length)

    def _fail(self, keys: list[str], what: str, length: int) -> None:
        """Let nodes fail one or two checks apart, as they do in the world."""
        for key in keys:
            wait, end = self._chance.choice([0, 0, 0, 1]), self._chance.choice([0, 0, 0, 1, 5])
            self._left[key] = [what] * (length + end) + ["ok"] * wait

    def silence(self, now: float) -> Silence | None:
        if self._chance.random() > 1 / 80:
            return None
        keys = tuple(self._chance.sample([node.key for node in NODES], self._chance.choice([1, 1, 3])))
        until = now + self._chance.choice([60.0, 600.0, 3600.0, 4 * 3600.0])
        return Silence(0, now, until, "work", "anna", nodes=keys)


def observed(key: str, what: str, at: float) -> Observation:
    if what in ("ok", "impaired"):
        return answers(key, at, models=("a",) if what == "ok" else ("other",))
    if what == "error":
        return Observation(key, at, Reply(Fault.STATUS, 500, "HTTP 500"))
    return fails(key, at, Fault.REFUSED if what == "refuses" else Fault.READ_TIMEOUT)


def in_model(key: str, what: str) -> str:
    """Return what the model knows of that: behind a tunnel, only an error is certainly not the tunnel's."""
    if what in ("ok", "impaired"):
        return what
    return "tunnel" if key in HOSTS and what != "error" else "failed"


CHAT, MAIL = Target("chat", frozenset({*Level})), Target("mail", frozenset({"critical"}))


class Day:
    """The program's core beside the model; the state goes through its file's form now and then."""

    def __init__(self, seed: int) -> None:
        self.faults, self.state, self.now = Faults(seed), State(), NOW
        self.mesh = Mesh(NODES, Settings())
        self.model = Reference(*map(model_of, NODES))
        self.silences: list[Silence] = []
        self.raised: list[int] = []  # the numbers of all alerts that are to be sent
        self.critical: list[int] = []
        self.reached: dict[str, list[int]] = {"chat": [], "mail": []}

    def check(self, number: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Return the alerts of the program and those of the model."""
        self.now += EVERY
        if asked := self.faults.silence(self.now):
            self.silences.append(silences.add(self.state, asked, self.now))
        shown = self.faults.next()
        seen = {key: observed(key, what, self.now) for key, what in shown.items()}
        rebase(self.state, self.now)
        first = self.state.next_alert
        tick.apply(self.state, self.mesh, tick.MeshObservation(seen), self.now, self.now)
        new = [alert for alert in self.state.alerts if alert.id >= first and not alert.muted]
        self.raised += [alert.id for alert in new]
        self.critical += [alert.id for alert in new if alert.level is Level.CRITICAL]
        self.deliver(mail=number not in MAIL_DOWN)
        if number % 10 == 0:
            self.state = decode(encode(self.state))
        told = [(alert.node, alert.level.value) for alert in new if alert.kind is not AlertKind.RECOVERY]
        silenced = {key for each in self.silences if self.now < each.until for key in each.nodes}
        expected = self.model.check(
            {key: in_model(key, what) for key, what in shown.items()}, silenced, self.now
        )
        return told, expected

    def deliver(self, *, mail: bool) -> None:
        targets = (CHAT, MAIL)
        outbox.close(self.state, targets, self.now, whole=True)
        for url, due in outbox.due(self.state.alerts, targets, self.now, digest=True).items():
            target = CHAT if url == "chat" else MAIL
            works = url == "chat" or mail
            for each in due:
                outbox.begin(self.state, each, target, self.now)
                reason = "" if works else "it is down"
                outbox.record_outcome(self.state, each, url, reason, targets, self.now, whole=True)
                self.reached[url] += [*each.numbers, *each.merged] if works else []


def new_seed() -> int:
    seed = int(os.environ.get("GPU_MESH_DAY_SEED") or random.randrange(10**9))
    print(f"GPU_MESH_DAY_SEED={seed}")
    return seed


@pytest.mark.parametrize("ticks", [400, soak(TICKS)])
def test_the_statuses_and_alerts_of_a_day_are_those_of_a_model_that_was_written_apart(
    ticks: int, record_property: Callable[[str, object], None]
) -> None:
    seed = new_seed()
    day, seen, transitions = Day(seed), Counter[str](), 0
    before: dict[str, str] = {}
    for number in range(ticks):
        told, expected = day.check(number)
        statuses = {key: known.status.value for key, known in day.state.nodes.items()}
        assert statuses == {key: node.status for key, node in day.model.nodes.items()}, f"check {number}"
        assert sorted(told) == sorted(expected), f"check {number}"
        assert {key: known.alerting.flapping for key, known in day.state.nodes.items()} == {
            key: node.flapping for key, node in day.model.nodes.items()
        }, f"check {number}"
        transitions += sum(statuses[key] != before.get(key) for key in statuses)
        before = statuses
        seen.update(level if node else f"mesh {level}" for node, level in told)
    day.now += 3600.0
    day.deliver(mail=True)
    assert sorted(day.reached["chat"]) == day.raised, (
        "each alert arrives once, alone or merged into a newer one"
    )
    assert sorted(day.reached["mail"]) == sorted({*day.reached["mail"]})
    assert {*day.reached["mail"]} >= {*day.critical}, "whatever waited for the mail server has arrived"
    shown = ", ".join(f"{count} {level}" for level, count in seen.most_common())
    record_property(
        "shown",
        f"a day of {ticks} checks of {len(NODES)} nodes, seed {seed}: {transitions} changes of status, "
        f"{sum(seen.values())} alerts ({shown}) as in the model",
    )
