"""Ticks killed at random moments: no alert is lost, and next to none is told twice.

`make test` kills a hundred, `make soak` a thousand, or GPU_MESH_KILLS=…. The moments follow from a seed,
which is printed. The same ones again: GPU_MESH_KILLS_SEED=….
"""

import json
import os
import random
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trustme

from checkout import ROOT
from gpu_mesh.delivery import apprise_config, outbox
from gpu_mesh.domain.alert import Alert, AlertKind, Progress
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.standin.server import Standin
from gpu_mesh.storage.state_file import decode
from marks import soak
from receivers import Hook, Inbox, Mail, Mood
from sites import Site, eventually

MANY = int(os.environ.get("GPU_MESH_KILLS", "1000"))
NODES = 6
START = 1_750_000_000.0
EVERY = 45.0
NAMES = ("mail", "chat", "east")


class Driver:
    """The program that runs and kills ticks."""

    def __init__(self, site: Site, environment: dict[str, str]) -> None:
        self.now = START
        self.errors = site.folder / "ticks.err"
        program = ROOT / "tests/programs/killed_ticks.py"
        self.process = subprocess.Popen(
            [sys.executable, str(program), str(site.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("wb"),
            text=True,
            env={**site.environment, **environment},
        )

    def tick(
        self,
        kill: str = "",
        after: float | None = None,
        step: int | None = None,
        limit: float | None = None,
    ) -> dict[str, Any]:
        """Run one tick at the next time; return how its check and its delivery ended.

        Args:
            kill: which of the two is killed.
            after: that many seconds after its beginning.
            step: at that step.
            limit: seconds after which either is killed in any case.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.now += EVERY
        order = {"now": self.now, "kill": kill, "after": after, "step": step, "limit": limit}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the program that runs the ticks has ended"
        ended: dict[str, Any] = json.loads(answer)
        well = all(each["killed"] or each["code"] == 0 for each in ended.values())
        assert well, f"{ended}\n{self.errors.read_text()[-3000:]}"
        return ended

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(20)


class Witness:
    """Compares each state with the one before."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.before = State()
        self.cut = Counter[str]()  # what a kill left behind

    def look(self, *, killed: bool) -> State:
        """Read the state, which must be readable and must not have lost anything."""
        state = decode(self.site.paths.state_file.read_bytes())
        assert state.nodes.keys() >= self.before.nodes.keys()
        for key, before in self.before.nodes.items():
            self.lost_no_incident(before, state.nodes[key])
        assert [alert.id for alert in state.alerts] == list(range(1, state.next_alert))
        for before, after in zip(self.before.alerts, state.alerts, strict=False):
            self.lost_no_delivery(before, after)
        if killed:
            self.count(state)
        self.before = state
        return state

    @staticmethod
    def lost_no_incident(before: NodeState, after: NodeState) -> None:
        assert after.statistics.checks >= before.statistics.checks
        if before.incident_since and after.incident_since:
            assert after.incident_since == before.incident_since

    @staticmethod
    def lost_no_delivery(before: Alert, after: Alert) -> None:
        assert (before.id, before.node, before.text) == (after.id, after.node, after.text)
        assert after.done >= before.done
        for target, way in before.deliveries.items():
            later = after.deliveries[target]
            assert later.attempts >= way.attempts
            assert later.progress is way.progress or way.progress is Progress.PENDING

    def count(self, state: State) -> None:
        folder = self.site.state_dir
        self.cut["a new state written but not in place"] += (folder / "state.json.new").exists()
        current, previous = folder / "state.json", folder / "state.previous.json"
        if not previous.exists():
            self.cut["without the copy before it"] += 1
        elif current.stat().st_ino == previous.stat().st_ino:
            self.cut["between the two renames"] += 1
        open_ones = {
            (alert.id, target, way.attempts)
            for alert in state.alerts
            for target, way in alert.deliveries.items()
            if way.progress is Progress.PENDING and way.error == outbox.NO_OUTCOME
        }
        was = {
            (alert.id, target, way.attempts)
            for alert in self.before.alerts
            for target, way in alert.deliveries.items()
        }
        self.cut["an attempt begun, its outcome not noted"] += bool(open_ones - was)


@pytest.fixture
def mesh(site: Site, standin: Callable[..., Standin]) -> list[Standin]:
    """The nodes, of which every other one is in the east; each change of one is one alert."""
    nodes = [standin() for _ in range(NODES)]
    one_alert_a_change = {"unhealthy_threshold": 1, "offline_threshold": 1_000_000}
    site.describe(
        {
            f"node{number}": {
                "url": node.url,
                "alert_tags": ["east"] if number % 2 else ["west"],
                **one_alert_a_change,
            }
            for number, node in enumerate(nodes)
        },
        # Many checks in a row are killed, which is not what this story tells of.
        check_interval=86400,
        # Changes that had to wait for each other may come one right after the other.
        flapping=False,
        recovery_brake=0,
        alert_templates=str(site.folder / "templates"),
    )
    (site.folder / "templates").mkdir()
    (site.folder / "templates" / "alert_title.txt.j2").write_text("{{ id }} {{ name }}: {{ text }}")
    digest = "{{ nodes | map(attribute='id') | join(',') }} together"
    (site.folder / "templates" / "digest_title.txt.j2").write_text(digest)
    return nodes


@pytest.fixture
def receivers(site: Site) -> Iterator[dict[str, Inbox]]:
    """Mail and chat want everything, the third of the east's errors alone."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(site.folder / "ca.pem"))
    with ExitStack() as stack:
        mail = Mail(_context(authority))
        stack.callback(mail.stop)
        chat, east = Hook(), Hook()
        stack.callback(chat.stop)
        stack.callback(east.stop)
        site.paths.config.mkdir()
        file = site.paths.config / "apprise.yml"
        file.touch(mode=0o600)
        every = {"tag": "info,warning,error,critical"}
        file.write_text(
            json.dumps({"urls": [{mail.url: every}, {chat.url: every}, {east.url: {"tag": "error,east"}}]})
        )
        yield {"mail": mail, "chat": chat, "east": east}


def _context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("planned", "changes"),
    [
        pytest.param(100, 2 * NODES, id="100"),  # each node fails and recovers once
        soak(MANY, 8 * NODES, name="many"),  # and here four times
    ],
)
def test_of_ticks_killed_at_random_moments_none_loses_an_alert_or_repeats_more_than_one_message(
    site: Site,
    mesh: list[Standin],
    receivers: dict[str, Any],
    record_property: Callable[[str, object], None],
    planned: int,
    changes: int,
) -> None:
    seed = int(os.environ.get("GPU_MESH_KILLS_SEED") or random.randrange(10**9))
    print(f"GPU_MESH_KILLS_SEED={seed}")
    chance = random.Random(seed)
    began = time.monotonic()
    driver = Driver(site, {"SSL_CERT_FILE": str(site.folder / "ca.pem")})
    try:
        kills, witness, ticks = _kill(driver, site, mesh, receivers, chance, planned, changes)
        for _ in range(200):  # until every pause after a failed attempt is over
            driver.tick()
            state = witness.look(killed=False)
            if all(alert.done for alert in state.alerts):
                break
    finally:
        driver.end()
    took = time.monotonic() - began

    assert [alert.text for alert in state.alerts if alert.kind is not AlertKind.STATUS] == []
    assert len(state.alerts) == changes
    targets = apprise_config.load(
        site.paths, Settings(alert_templates=str(site.folder / "templates"))
    ).targets
    table = []
    again_by_kill = Counter[object]()
    for name, target in zip(NAMES, targets, strict=True):
        arrived = [(at, _numbers(title)) for at, title in receivers[name].taken]
        wanted = [
            alert for alert in state.alerts if outbox.wants(target.tags, alert.level, alert.tags, alert.ends)
        ]
        copies = Counter(number for _, numbers in arrived for number in numbers)
        assert set(copies) <= {alert.id for alert in wanted}
        merged = [alert for alert in wanted if not copies[alert.id]]
        for alert in merged:
            assert alert.deliveries[target.id].progress is Progress.MERGED, alert
            assert any(
                copies[later.id] for later in wanted if later.node == alert.node and later.id > alert.id
            )
        again = _again(arrived)
        # The copy before was taken in a tick that was killed then, and of no kill more than what was on its
        # way: one alert, or those of one digest.
        assert set(again) <= kills.keys(), again
        for kill, numbers in again.items():
            ways = [set(on_its_way) for at, on_its_way in arrived if at == kill]
            assert any(numbers <= way for way in ways), (kill, numbers)
        again_by_kill.update(again.keys())
        twice = sum(map(len, again.values()))
        table.append((name, len(wanted), len(wanted) - len(merged), len(merged), twice))
    assert again_by_kill.total() <= len(kills)
    where = Counter(kills.values())
    lines = [
        f"{len(kills)} of {ticks} ticks killed, in {took:.0f} s",
        *(f"  {number:4} in the {what}" for what, number in where.items()),
        *(f"  {number:4} left {what}" for what, number in witness.cut.items()),
        "receiver  wanted  arrived  merged  twice",
        *(f"{row[0]:8}  {row[1]:6}  {row[2]:7}  {row[3]:6}  {row[4]:5}" for row in table),
    ]
    record_property("shown", "\n".join(lines))
    if planned >= 1000:  # fewer meet less, and leave less time between two changes of a node
        assert min(row[2] for row in table[:2]) >= 40, table
        assert all({**where, **witness.cut}.values()), lines


def _numbers(title: str) -> tuple[int, ...]:
    """Return the numbers of the alerts that a message reports, from its title."""
    return tuple(map(int, title.split()[0].split(",")))


def _again(arrived: list[tuple[object, tuple[int, ...]]]) -> dict[object, set[int]]:
    """Return which alerts arrived once more, by when their copy before did."""
    seen: dict[int, object] = {}
    again: dict[object, set[int]] = {}
    for at, numbers in arrived:
        for number in numbers:
            if number in seen:
                assert number not in again.setdefault(seen[number], set())
                again[seen[number]].add(number)
            seen[number] = at
    return again


def _kill(
    driver: Driver,
    site: Site,
    mesh: list[Standin],
    receivers: dict[str, Any],
    chance: random.Random,
    planned: int,
    changes: int,
) -> tuple[dict[object, str], Witness, int]:
    """Kill ticks until enough were killed; return what was killed in which, the witness, and their number."""
    witness, kills, tick = Witness(site), dict[object, str](), 0
    driver.tick()
    whole = driver.tick()
    state = witness.look(killed=False)
    attempt = 4 * whole["check"]["seconds"]  # about as long as a mail takes
    changed = 0
    while len(kills) < planned or changed < changes:
        tick += 1
        at = changed % NODES
        # All but the last node keep still until what was told of them has arrived, and is not merged then.
        still = at < NODES - 1 and any(a.node == f"node{at}" and not a.done for a in state.alerts)
        if changed < changes and len(kills) >= (changed + 1) * planned // (changes + 2) and not still:
            node = mesh[at]
            node.fault = "none" if node.fault != "none" else "http_500"
            changed += 1
        for inbox in receivers.values():
            inbox.now = tick
            if chance.random() < 0.1:
                inbox.set(chance.choice([Mood.TAKES] * 4 + list(Mood)))
        kill = chance.choice(("check", "deliver"))
        # An attempt takes longer, and more steps, than a delivery that finds nothing.
        busy = kill == "deliver" and any(not alert.done for alert in state.alerts)
        longest = attempt if busy else whole[kill]["seconds"]
        most = 60 if busy else whole[kill]["steps"]
        if chance.random() < 0.5:
            ended = driver.tick(kill, after=chance.uniform(0, longest), limit=2 * attempt)
        else:
            ended = driver.tick(kill, step=chance.randint(1, most), limit=2 * attempt)
        killed = [name for name, each in ended.items() if each["killed"]]
        if killed:
            kills[tick] = killed[0]
        state = witness.look(killed=bool(killed))
        for inbox in receivers.values():
            if inbox.open and inbox.mood is Mood.HANGS:
                inbox.set(Mood.FAILS)
            assert eventually(lambda inbox=inbox: inbox.open == 0)
    for inbox in receivers.values():
        inbox.now = None
        inbox.set(Mood.TAKES)
    return kills, witness, tick
