"""Reads and writes state.json, under the lock, for every process that remembers something.

The lock is held only to reload, change and save; what takes time (a probe, a delivery, a playbook) happens
outside it, and its outcome is then folded into the state as it is by then.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gpu_mesh.alerting import monitor_alerts
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.state import SCHEMA, ClockReading, State
from gpu_mesh.storage import disk_errors, stored
from gpu_mesh.storage.rebase import follow, rebase
from gpu_mesh.system import atomic, files, locks
from gpu_mesh.system.log import Log

LOCK_LIMIT = 10.0
"""Seconds to wait for another process to let go of the lock; each holds it for milliseconds."""


LARGEST = 256_000_000
"""Bytes that a state may have; with 10,000 nodes and a full history it has some ten million."""


class StateError(Exception):
    """The state folder cannot be used; the message says why, and what to do."""

    def __init__(self, reason: str, next_step: str) -> None:
        """Take why, and what to do."""
        super().__init__(f"{reason}; {next_step}")
        self.reason, self.next_step = reason, next_step


class NotLeaderError(StateError):
    """Another monitor leads the mesh now; nothing was saved."""


class OlderSchemaError(ValueError):
    """The file is whole, and a version of the program wrote it that this one no longer understands."""


class NewerSchemaError(ValueError):
    """The file is whole, and a newer version of the program wrote it."""


class _Schema(msgspec.Struct):
    schema: int


def decode(data: bytes) -> State:
    """Decode a state file.

    Raises:
        OlderSchemaError: an older version of the program wrote it.
        NewerSchemaError: a newer one did.
        ValueError: it is damaged.
    """
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            other = NewerSchemaError if schema > SCHEMA else OlderSchemaError
            raise other(f"schema {schema}, this one reads {SCHEMA}")
        return stored.from_disk(msgspec.json.decode(data, type=stored.StoredState))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def encode(state: State) -> bytes:
    """Encode a state, in one line: with line breaks it would be a quarter larger. jq makes it readable."""
    return msgspec.json.encode(stored.to_disk(state)) + b"\n"


class StateFile:
    """The state of one monitor, in one folder."""

    def __init__(self, folder: Path, log: Log, *, rebases: bool = True) -> None:
        """Take where the state is.

        Args:
            folder: of the state.
            log: the central log.
            rebases: whether a change brings the times of the state to this machine's clock.
        """
        self._log, self._rebases = log, rebases
        self._path = folder / "state.json"
        self._previous = folder / "state.previous.json"
        self._temporary = folder / "state.json.new"
        self._lock = folder / "state.lock"

    def load(self, now: float | None = None, clock: ClockReading | None = None) -> State:
        """Read the state without the lock, for a look; a damaged file is left where it is.

        Args:
            now: Unix seconds, to which its times are brought (rebase.py); None: they stay as written.
            clock: how the clocks stand, for a check.

        Raises:
            StateError: the file may not be read, or a newer version wrote it.
        """
        try:
            state = self._read()[0]
        except OSError as error:
            raise StateError(
                f"{self._path} cannot be read: {error.strerror}", disk_errors.next_step(error, self._path)
            ) from error
        if now is not None:
            if clock:
                follow(state, clock, now)
            rebase(state, now)
        return state

    def may_write(self) -> bool:
        """Return whether this monitor may make such a change now: where it is alone, always."""
        return True

    def make_folder(self) -> None:
        """Make the state folder where there is none yet.

        Raises:
            StateError: it may not be made, or is another user's, who could put anything there.
        """
        folder = self._path.parent
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            owner = folder.stat().st_uid
        if owner not in (0, os.geteuid()):
            raise StateError(f"{folder} is another user's", disk_errors.as_owner(folder))

    @contextmanager
    def update(
        self, now: float, began: float | None = None, clock: ClockReading | None = None
    ) -> Iterator[State]:
        """Hold the lock, yield the state as it is now, and save it when the block ends without an exception.

        A damaged file, or one of an older version, is set aside with an alert that says so, and the last good
        copy or an empty state takes its place. One of a newer version is never touched: that version may be
        in use, and this process be the last of the one before it.

        Args:
            now: Unix seconds.
            began: Unix seconds, when the caller began to observe. Where the clock was set back, nothing in
                the state is newer than that; None: than now.
            clock: how the clocks stand, for a check, which keeps that.

        Raises:
            StateError: the folder or a file in it may not be written, a newer version wrote the state, or
                another process keeps the lock.
        """
        with self._locked(now) as copy, self._writing_all(copy, now) as state:
            if clock and (jump := follow(state, clock, now)):
                self._log.write([event("clock_was_set", Severity.NOTICE, seconds=jump)], now)
            if self._rebases:
                # The caller may have read the clock some time ago: what others wrote since is not ahead.
                rebase(state, max(now, time.time()), began)
            yield state

    @contextmanager
    def _locked(self, now: float) -> Iterator[State]:
        """Hold the lock; yield the state of the file."""
        self.make_folder()
        with self._writing():
            lock = locks.open_file(self._lock)
        with lock:
            with self._writing():
                if not locks.take_within(lock, LOCK_LIMIT):
                    raise StateError(
                        f"another process has kept {self._lock} locked for {LOCK_LIMIT:g} s",
                        f"find it with: fuser -v {self._lock}; then let it go on, or end it",
                    )
                copy = self._reload(now)
            yield copy

    @contextmanager
    def _writing_all(self, copy: State, now: float) -> Iterator[State]:
        """Yield the state that is changed, and save it when the block ends without an exception."""
        with self._sharing(copy, now) as state:
            yield state
        with self._writing():
            self._save(state)

    @contextmanager
    def _sharing(self, copy: State, now: float) -> Iterator[State]:
        """Yield the state that is changed: the one of the file, where no other monitor shares it.

        Of one that others share, the copy notes that it has changed apart (storage/shared_state.py).
        """
        yield copy
        if copy.shared:
            copy.shared = replace(copy.shared, apart_since=copy.shared.apart_since or now)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self._path
            raise StateError(
                f"{place} cannot be written: {error.strerror}", disk_errors.next_step(error, self._path)
            ) from error

    def _read(self) -> tuple[State, ValueError | None]:
        """Return the best state there is, and what is wrong with the newest file."""
        damage: ValueError | None = None
        for path in (self._path, self._previous):
            try:
                return decode(files.read(path, LARGEST)), damage
            except FileNotFoundError:
                continue
            except NewerSchemaError as error:
                raise StateError(
                    f"{path} was written by a newer gpu-mesh ({error})",
                    "use that one, or move the file away to start anew",
                ) from error
            except ValueError as error:
                damage = damage or error
        return State(), damage

    def _reload(self, now: float) -> State:
        state, damage = self._read()
        if damage:
            older = isinstance(damage, OlderSchemaError)
            aside = self._path.with_name(f"state.{'older-version' if older else 'damaged'}-{int(now)}.json")
            if self._path.exists():
                self._path.replace(aside)
            self._log.write(
                [
                    event(
                        "state_set_aside",
                        Severity.ERROR,
                        file=str(aside),
                        reason=str(damage),
                        known_nodes=len(state.nodes),
                    )
                ],
                now,
            )
            monitor_alerts.note_set_aside(
                state, str(damage), aside=str(aside), file=str(self._path), older_version=older, now=now
            )
        return state

    def _save(self, state: State) -> None:
        atomic.write(self._path, encode(state), temporary=self._temporary, before=self._keep_previous)

    def _keep_previous(self) -> None:
        """Let the file that is about to be replaced live on under its second name, without copying it.

        Without hard links (exFAT) the file moves there: until the new one has taken its place,
        whoever reads finds the copy, as after damage.
        """
        if self._path.exists():
            files.remove(self._previous)
            try:
                os.link(self._path, self._previous)
            except OSError:
                self._path.replace(self._previous)
