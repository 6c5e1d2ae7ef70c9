"""Several monitors with the program's own code and files, and an etcd that answers only whom it is told to.

The etcd keeps keys, leases and revisions as the real one does: tests/integration/cluster/test_etcd.py asks
both the same. Time is the simulation's.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from factories import answers, fails, plain
from gpu_mesh.alerting.alerts import is_waiting
from gpu_mesh.cluster.keys import Keys
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.mesh import Cluster, Mesh, Settings
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import lead, sharing, tick
from gpu_mesh.recovery import lifecycle
from gpu_mesh.recovery.values import Job
from gpu_mesh.storage import session_file, shared_state
from gpu_mesh.storage.shared_state import SharedStateFile
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system.etcd import (
    Answer,
    AwayError,
    Compare,
    Delete,
    EtcdError,
    Get,
    KeyValue,
    Operation,
    Put,
)
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

BEGAN = 1_900_000_000.0  # Unix seconds, after any real clock that runs this


class Store:
    """What etcd keeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._keys: dict[str, KeyValue] = {}
        self._leases: dict[int, tuple[float, float]] = {}  # until, seconds
        self._revision, self._last_lease = 1, 0

    def grant(self, seconds: int) -> int:
        self._last_lease += 1
        self._leases[self._last_lease] = (self.now + seconds, seconds)
        return self._last_lease

    def renew(self, lease: int) -> bool:
        self._expire()
        if lease not in self._leases:
            return False
        seconds = self._leases[lease][1]
        self._leases[lease] = (self.now + seconds, seconds)
        return True

    def value(self, key: str) -> bytes:
        """Return what a key has; b"": there is none."""
        self._expire()
        return self._keys[key].value if key in self._keys else b""

    def revoke(self, lease: int) -> None:
        self._leases.pop(lease, None)
        self._expire()

    def transact(
        self, then: Sequence[Operation], when: Sequence[Compare] = (), otherwise: Sequence[Operation] = ()
    ) -> Answer:
        self._expire()
        succeeded = all(map(self._holds, when))
        self._revision += 1
        found = [self._do(each) for each in (then if succeeded else otherwise)]
        return Answer(succeeded, tuple(each for each in found if each is not None))

    def _holds(self, condition: Compare) -> bool:
        known = self._keys.get(condition.key)
        if condition.value is not None:
            return known is not None and known.value == condition.value
        return (known.created if known else 0) == (condition.created or 0)

    def _do(self, operation: Operation) -> tuple[KeyValue, ...] | None:
        if isinstance(operation, Get):
            return tuple(
                self._keys[key]
                for key in sorted(self._keys)
                if key == operation.key or (operation.prefix and key.startswith(operation.key))
            )
        if isinstance(operation, Delete):
            self._keys.pop(operation.key, None)
            return None
        if operation.lease and operation.lease not in self._leases:
            raise EtcdError("requested lease not found")
        known = self._keys.get(operation.key)
        created = known.created if known else self._revision
        self._keys[operation.key] = KeyValue(operation.key, operation.value, created, operation.lease)
        return None

    def _expire(self) -> None:
        over = [lease for lease, (until, _) in self._leases.items() if until <= self.now]
        for lease in over:
            del self._leases[lease]
        self._keys = {
            key: known for key, known in self._keys.items() if not known.lease or known.lease in self._leases
        }


class Line:
    """One monitor's way to etcd. It can be cut, and it can lose the next answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_cut, self.loses_answer = False, False

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    endpoint = ""

    def grant_time(self, seconds: float) -> None:
        pass

    def grant(self, seconds: int) -> int:
        self._go()
        return self._store.grant(seconds)

    def renew(self, lease: int) -> bool:
        self._go()
        return self._store.renew(lease)

    def clocks(self) -> tuple[float, ...]:
        return (0.0, 0.0, 0.0)

    def transact(
        self, then: Sequence[Operation], when: Sequence[Compare] = (), otherwise: Sequence[Operation] = ()
    ) -> Answer:
        self._go()
        answer = self._store.transact(then, when, otherwise)
        if self.loses_answer and any(isinstance(each, Put) for each in then):
            self.loses_answer = False
            raise AwayError("the answer was lost")
        return answer

    def _go(self) -> None:
        if self.is_cut:
            raise AwayError("the line is cut")


class World:
    """The nodes and the people: what really is, who was told what, and who repairs."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.told: list[tuple[str, str]] = []  # the monitor, and the alert's content
        self.raised: dict[str, Role] = {}  # the content of each alert that a monitor has saved
        self.repairs: dict[str, tuple[str, Role, float]] = {}  # by node: who repairs it, as what, until when
        self.doubled: list[str] = []
        self.overwritten: list[str] = []  # by whom, though another one led by then


class SimulatedMonitor:
    """One monitor: its commands run one after another, and never while it is dead."""

    def __init__(self, folder: Path, name: str, cluster: "SimulatedCluster") -> None:
        self._cluster, self.name = cluster, name
        self.line = Line(cluster.store)
        self.alive, self.stops_for = (
            True,
            0.0,
        )  # seconds for which its next check stands still before it writes
        self.paths = Paths((), folder, folder / name, folder / name / "log")
        self.paths.state.mkdir()
        self.mesh = replace(cluster.mesh, monitor=name)
        self._log = Log(self.paths.log_file)

    @property
    def role(self) -> Role:
        return session_file.role_of(self.paths, self.mesh)

    def state(self) -> State:
        return SharedStateFile(self.paths, self.mesh, self._log, writer=Writer.PERSON).load()

    def lead(self) -> None:
        with contextlib.suppress(EtcdError):
            lead.lead(self.paths, self.mesh, self.state(), self._log, self._cluster.now)

    def check(self) -> None:
        now, role, world = self._cluster.now, self.role, self._cluster.world
        if not role.watches:
            with contextlib.suppress(StateError):
                sharing.stand_by(self.paths, self.mesh, self._log, now)
            return
        shown = tick.MeshObservation(
            {
                node.key: fails(node.key, now) if node.key in world.failing else answers(node.key, now)
                for node in self.mesh.nodes
            }
        )
        try:
            with self._file().update(now) as state:
                self._stand_still()
                first = state.next_alert
                counted = sharing.begin(self.paths, state, self.mesh, role, shown, now)
                tick.apply(state, self.mesh, counted, now, now)
                sharing.end(state, self.mesh, role, first)
                new = [each.text for each in state.alerts if each.id >= first and not each.muted]
        except StateError:
            return
        world.raised |= dict.fromkeys(new, role)
        leads = self._cluster.store.value(Keys(self.mesh.cluster.name).lead)
        if not self.state().shared.apart_since and f'"{self.name}"'.encode() not in leads:
            world.overwritten.append(self.name)

    def _stand_still(self) -> None:
        """Let the others go on while this process is stopped, with the state in its hands."""
        seconds, self.stops_for, self.alive = self.stops_for, 0.0, not self.stops_for
        self._cluster.goes_on(seconds)
        self.alive, self._cluster.acting = True, self

    def deliver(self) -> None:
        """Tell people each alert that waits: save that it is tried, tell it, save that it is told."""
        while self.role.watches:
            waiting = [each for each in self.state().alerts if is_waiting(each)]
            if not waiting:
                return
            try:
                with self._file().update(self._cluster.now):
                    pass  # an attempt is saved before it is made
            except StateError:
                return
            self._cluster.world.told.append((self.name, waiting[0].text))
            with contextlib.suppress(StateError), self._file().update(self._cluster.now) as state:
                state.alerts = [
                    replace(each, done=True) if each.text == waiting[0].text else each
                    for each in state.alerts
                ]

    def recover(self) -> None:
        """Claim what is due; a repair takes two minutes, and its outcome is noted with the next round."""
        if not self.role.repairs:
            return
        role, now, world = self.role, self._cluster.now, self._cluster.world
        try:
            with self._file(Writer.REPAIR).update(now) as state:
                lifecycle.expire_claims(state, self.mesh, now)
                job = lifecycle.claim(state, self.mesh, now, 1)
        except StateError:
            return
        if not isinstance(job, Job) or self.state().node(job.node.key).recovery.claim != job.claim:
            return
        who = world.repairs.get(job.node.key)
        if who and who[2] > now and {who[1], role} == {Role.LEADER}:
            world.doubled.append(f"{job.node.key}: {who[0]} and {self.name}")
        world.repairs[job.node.key] = (self.name, role, now + 120)

    def _file(self, writer: Writer = Writer.WATCH) -> SharedStateFile:
        return SharedStateFile(self.paths, self.mesh, self._log, writer=writer)


class SimulatedCluster:
    """Three monitors, their etcd, and the world that they watch."""

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        self.store, self.world = Store(), World()
        names = ("attic", "desk", "porch")
        self.mesh = Mesh(
            tuple(plain(f"gpu{number}") for number in range(nodes)),
            Settings(recovery_brake=0, grace=0.0, flapping=False, recovery_backoff=30.0),
            cluster=Cluster(("http://127.0.0.1:1",), monitors=names),
        )
        self.monitors = {name: SimulatedMonitor(folder, name, self) for name in names}
        self.acting = self.monitors["desk"]
        self.ahead: dict[str, float] = {}  # by monitor: seconds by which its clock is

    @property
    def now(self) -> float:
        """The time, by the clock of the monitor that does something."""
        return BEGAN + self.store.now + self.ahead.get(self.acting.name, 0.0)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within, the program asks this etcd and this clock."""
        before = shared_state.Etcd, lead.Etcd, session_file.since_boot, shared_state.HELD
        shared_state.Etcd = lead.Etcd = lambda *_: self.acting.line  # type: ignore[misc,assignment]
        session_file.since_boot = lambda: self.store.now
        shared_state.HELD = -1.0  # who waits for a lock here waits for a process that stands still
        try:
            yield
        finally:
            shared_state.Etcd, lead.Etcd, session_file.since_boot, shared_state.HELD = before  # type: ignore[misc]

    def does(self, name: str, what: str) -> None:
        """Let a monitor run one of its commands, if it lives."""
        self.acting = self.monitors[name]
        if self.acting.alive:
            getattr(self.acting, what)()

    def passes(self, seconds: float) -> None:
        self.store.now += seconds

    def goes_on(self, seconds: float) -> None:
        """Let the timers of all monitors run for a while, as they do."""
        for _ in range(int(seconds // 10)):
            self.passes(10)
            for name in self.monitors:
                self.does(name, "lead")
                if round(self.store.now) % 30 < 10:
                    for what in ("check", "deliver", "recover"):
                        self.does(name, what)
