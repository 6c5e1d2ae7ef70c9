"""The state file of a monitor that shares its state with others, through etcd.

As the lock of the state file keeps the processes of one monitor apart, a key of etcd keeps the monitors
apart. It is given back in the transaction that writes the state. That one also demands that the key is still
this process's, and, where only the leader may write, that the monitor leads. So what a monitor writes that
was cut off, stopped or replaced meanwhile is refused as a whole.

While etcd is away, whoever may act goes on with its copy alone (cluster/leadership.py decides who may). The
copy remembers that; once etcd answers, it is united with the shared state (cluster/uniting.py).
"""

import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from gpu_mesh.cluster import takeover, uniting
from gpu_mesh.cluster.keys import Keys
from gpu_mesh.domain.cluster import Role, Writer
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import SCHEMA, Shared, State
from gpu_mesh.storage import session_file
from gpu_mesh.storage.state_file import (
    NewerSchemaError,
    NotLeaderError,
    StateError,
    StateFile,
    decode,
    encode,
)
from gpu_mesh.system.etcd import AwayError, Compare, Delete, Etcd, EtcdError, Get, Operation, Put, Tls
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

PATIENCE = 4.0
"""Seconds that one change may wait for etcd and for the lock."""

HELD = 2.0
"""Seconds after which the lock of another monitor's process is taken from it: it is stopped, or cut off.
What it then still writes is refused."""

LARGEST, LARGEST_NODE = 8_000_000, 20_000
"""Bytes that a state of etcd's may have, and for each node. An honest one has a tenth of that: who has stolen
etcd's key shall not fill the memory of all monitors with it."""

_PAUSE = 0.05
_OLDER = "what etcd has is older than this monitor's copy"


class SharedStateFile(StateFile):
    """The state of one of several monitors."""

    def __init__(self, paths: Paths, mesh: Mesh, log: Log, *, writer: Writer) -> None:
        """Take whose state it is, and where it is shared.

        Args:
            paths: the monitor's folders.
            mesh: names the monitor, and etcd.
            log: the central log.
            writer: for what the changes are made.
        """
        # Who asked for a change need not have a right clock; who watches must (cluster/leadership.py).
        super().__init__(paths.state, log, rebases=writer is not Writer.PERSON)
        self._paths, self._mesh, self._writer = paths, mesh, writer
        self._keys, self._tls = (
            Keys(mesh.cluster.name),
            Tls(mesh.cluster.ca, mesh.cluster.cert, mesh.cluster.key),
        )

    def mirror(self, now: float) -> State:
        """Bring this monitor's copy up to the shared state, and return it.

        Raises:
            StateError: the state folder cannot be used, or etcd refuses.
            AwayError: etcd is away.
        """
        mine = self.load()
        known, keys = mine.shared or Shared(), self._keys
        if known.apart_since or _was_alone(mine):
            with self.update(now) as state:
                pass
            return state
        try:
            with self._etcd() as etcd:
                written = etcd.transact([Get(keys.write)]).found[0]
                if not written or written[0].value == known.write.encode():
                    return mine
                with self._locked(now) as copy:
                    if copy.shared and copy.shared.apart_since:
                        return copy  # noted just now: the next check unites it
                    packed = etcd.transact([Get(keys.state)]).found[0]
                    shared = self._unpacked(packed[0].value) if packed else copy
                    if uniting.is_older(shared, copy):  # its leader will write a newer one
                        return copy
                    state = uniting.with_own(shared, copy, self._mesh.monitor)
                    with self._writing():
                        self._save(state)
                    return state
        except AwayError:
            raise
        except EtcdError as error:
            raise self._refused(error) from error

    @contextmanager
    def _sharing(self, copy: State, now: float) -> Iterator[State]:
        """Yield the shared state, or the copy while etcd is away; write it when the block ends."""
        if not self.may_write():
            raise NotLeaderError(*self._led_by_another())
        with self._etcd() as etcd:
            try:
                write = self._take_lock(etcd)
                try:
                    state = self._newest(etcd, copy, now)
                except (EtcdError, StateError):
                    self._give_lock_back(etcd, write)
                    raise
            except EtcdError as error:
                yield self._apart(copy, now, error)
                return
            try:
                yield state
            except BaseException:
                self._give_lock_back(etcd, write)
                raise
            before = copy.shared or Shared()
            after = state.shared or Shared()
            number = write.split()[1]
            state.shared = replace(
                after,
                write=number,
                writes=after.writes + 1,
                cluster=after.cluster or number,
                as_of=after.as_of if self._writer is Writer.PERSON else now,
                apart_since=0.0,
                apart_for="",
                refused=False,
            )
            etcd.grant_time(PATIENCE)
            try:
                self._write(etcd, state, write)
            except EtcdError as error:
                state.shared = replace(
                    after,
                    as_of=before.as_of,
                    apart_since=before.apart_since,
                    apart_for=before.apart_for,
                )
                self._apart(state, now, error)

    def may_write(self) -> bool:
        """Return whether what this monitor does now permits such a change."""
        return _may_write(self._writer, session_file.role_of(self._paths, self._mesh))

    def _etcd(self) -> Etcd:
        return Etcd(session_file.endpoints(self._paths, self._mesh), self._tls, PATIENCE)

    def _take_lock(self, etcd: Etcd) -> str:
        """Take the lock, and return what it says then: ``MONITOR WRITE``."""
        keys, mine = self._keys, f"{self._mesh.monitor} {uuid.uuid4().hex}"
        lock = Put(keys.lock, mine.encode())
        since, holder = time.monotonic(), b""
        while True:
            answer = etcd.transact([lock], [Compare(keys.lock, created=0)], [Get(keys.lock)])
            if answer.succeeded:
                return mine
            found = answer.found[0]
            if found and found[0].value != holder:
                since, holder = time.monotonic(), found[0].value
            # A process of this monitor that still had it would hold the lock of the file, too.
            over = holder.startswith(f"{self._mesh.monitor} ".encode()) or time.monotonic() - since > HELD
            if holder and over and etcd.transact([lock], [Compare(keys.lock, value=holder)]).succeeded:
                return mine
            time.sleep(_PAUSE)

    def _newest(self, etcd: Etcd, copy: State, now: float) -> State:
        """Return the state as it is by now."""
        known = copy.shared or Shared()
        found = etcd.transact([Get(self._keys.write)]).found[0]
        if not found:  # the first of all, perhaps of an etcd that was begun anew
            self._must_lead("it has no state of the mesh yet")
            copy.shared = replace(known, writes=0, cluster="")
            return copy
        if found[0].value == known.write.encode():
            return copy  # nobody else has written since, so what it noted apart is the newest there is
        packed = etcd.transact([Get(self._keys.state)]).found[0]
        if not packed:
            return copy
        try:
            shared = self._unpacked(packed[0].value)
        except _DamagedError as error:
            self._must_lead(error.reason)
            self._log.write([event("shared_state_replaced", Severity.ERROR, reason=str(error))], now)
            takeover.note_replaced(copy, self._mesh.monitor, str(error), now)
            return copy
        if _was_alone(copy):
            if self._mesh.cluster.seed == self._mesh.monitor and self._leads():
                return copy
            known = copy.shared = Shared(apart_since=copy.tick.at or now)
        if uniting.is_older(shared, copy):  # etcd was put back to an earlier state
            self._must_lead(_OLDER)
            self._log.write([event("shared_state_replaced", Severity.WARNING, reason=_OLDER)], now)
            return copy
        shared = uniting.with_own(shared, copy, self._mesh.monitor)
        if known.apart_since:
            queued = uniting.unite(shared, copy, self._mesh.monitor, now)
            self._log.write([event("state_united", Severity.NOTICE, alerts=len(queued))], now)
        return shared

    def _leads(self) -> bool:
        return session_file.role_of(self._paths, self._mesh) is Role.LEADER

    def _must_lead(self, reason: str) -> None:
        """Leave it to the leader, whose copy is the newest, to put its own in the place of what etcd has.

        Raises:
            EtcdError: this monitor does not lead.
        """
        if not self._leads():
            raise EtcdError(f"{reason}; who leads writes its own")

    def _unpacked(self, packed: bytes) -> State:
        try:
            # What is cut off for its size is no JSON any more.
            largest = LARGEST + LARGEST_NODE * len(self._mesh.nodes)
            return decode(zlib.decompressobj().decompress(packed, largest))
        except NewerSchemaError as error:
            raise StateError(
                f"the state in etcd was written by a newer gpu-mesh ({error})",
                "bring this monitor up to date",
            ) from error
        except (zlib.error, ValueError) as error:
            raise _DamagedError(
                f"the state in etcd is damaged: {error}", "the leader's next check puts its own copy there"
            ) from error

    def _write(self, etcd: Etcd, state: State, write: str) -> None:
        """Write the state and give the lock back, all or nothing.

        Raises:
            AwayError: etcd did not answer, and has not done it as far as is known.
            EtcdError: etcd refuses it, as it does what is too large.
            NotLeaderError: the lock or leadership was lost meanwhile: nothing is written.
        """
        keys, number = self._keys, write.split()[1].encode()
        holds = [Compare(keys.lock, value=write.encode())]
        if self._writer is not Writer.PERSON:
            session = session_file.read(self._paths, self._mesh.monitor)
            holds.append(Compare(keys.lead, created=session.term if session and session.term else -1))
        packed = zlib.compress(encode(state), 1)
        puts: list[Operation] = [
            Put(keys.state, packed),
            Put(keys.write, number),
            Put(keys.schema, str(SCHEMA).encode()),
            Delete(keys.lock),
        ]
        try:
            done = etcd.transact(puts, holds).succeeded
        except AwayError:
            with self._etcd() as again:  # the answer may be lost, not the request
                found = again.transact([Get(keys.write)]).found[0]
            if not found or found[0].value != number:
                raise
            done = True
        if not done:
            self._give_lock_back(etcd, write)
            raise NotLeaderError(*self._led_by_another())

    def _give_lock_back(self, etcd: Etcd, write: str) -> None:
        try:
            etcd.transact([Delete(self._keys.lock)], [Compare(self._keys.lock, value=write.encode())])
        except EtcdError:
            return  # it ends with this monitor's next change, or with its lease

    def _apart(self, copy: State, now: float, error: EtcdError) -> State:
        """Return the copy, which goes on alone.

        Raises:
            NotLeaderError: another monitor leads, or could. This process may have stood still for long.
        """
        role = session_file.role_of(self._paths, self._mesh)
        if not _may_write(self._writer, role):
            raise NotLeaderError(*self._led_by_another())
        # Who cannot reach etcd may have lost its lease by now; who is refused by it has not.
        if self._writer is Writer.REPAIR and role is Role.LEADER and isinstance(error, AwayError):
            raise NotLeaderError(
                f"etcd is away ({error}), and another monitor may lead soon", "gpu-mesh cluster"
            ) from error
        known = copy.shared or Shared()
        if not known.apart_since:
            self._log.write([event("etcd_away", Severity.WARNING, reason=str(error), role=role)], now)
        refused = not isinstance(error, AwayError)
        copy.shared = replace(
            known, apart_since=known.apart_since or now, apart_for=str(error), refused=refused
        )
        return copy

    def _refused(self, error: EtcdError) -> StateError:
        return StateError(f"etcd does not give the state: {error}", "gpu-mesh cluster")

    def _led_by_another(self) -> tuple[str, str]:
        session = session_file.read(self._paths, self._mesh.monitor)
        leader = session.leader if session else ""
        if leader and leader != self._mesh.monitor:
            return f"{leader} leads the mesh", f"do this on {leader}"
        return "this monitor does not lead the mesh", "gpu-mesh cluster"


class _DamagedError(StateError):
    """What etcd has is no state."""


def _was_alone(copy: State) -> bool:
    """Return whether a copy is of a monitor that has watched without any others so far."""
    return copy.shared is None and bool(copy.nodes or copy.alerts)


def _may_write(writer: Writer, role: Role) -> bool:
    """Return whether a monitor with that role may make such a change."""
    return writer is Writer.PERSON or (role.repairs if writer is Writer.REPAIR else role.watches)
