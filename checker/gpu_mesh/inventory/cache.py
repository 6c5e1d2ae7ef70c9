"""Keep the resolved mesh between ticks, for every command: Ansible reads the sources only when one changed.

A hit costs one small read and a stat for each file of the inventory. What is kept holds no secret: headers
name their secrets' files (inventory/resolve.py).
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from gpu_mesh import __version__
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory.mistakes import InventoryError, Mistake, describe
from gpu_mesh.system import atomic
from gpu_mesh.system.paths import Paths

REREAD = 300.0  # seconds: for sources whose change no file shows, and for mistakes that may mend themselves
_DAY = 86400.0
_FORGOTTEN = 7 * _DAY  # after which a cache that no command used is removed
_LARGE = 1_000_000  # bytes; a longer file is not searched for what makes it change unseen
_MOVING = re.compile(rb"^plugin\s*:|\b(lookup|query|q)\s*\(", re.MULTILINE)

Print = tuple[int, int, int, int]  # mtime_ns, ctime_ns, size, inode


class Loaded(Struct, frozen=True):
    """The mesh in force."""

    mesh: Mesh
    error: str = ""  # why the inventory's newest edit is not in force: every mistake, one a line
    fresh: bool = False  # whether the sources were read just now


class _Origin(Struct, frozen=True):
    """What a cache was made of and by; another one does not answer this question."""

    version: str
    machine: str
    sources: tuple[str, ...]
    monitor: str
    ansible_config: str


class _Cache(Struct, frozen=True):
    """mesh-….json, one for each set of sources and monitor that is asked for."""

    origin: _Origin
    read_at: float
    moving: bool  # a script, a plugin or a lookup: read again after REREAD
    watched: dict[str, Print | None]  # None: it does not exist, and its appearance would count
    mistakes: tuple[Mistake, ...] = ()
    mesh: Mesh | None = None  # the last good one


def load(paths: Paths, monitor: str | None, now: float) -> Loaded:
    """Return the mesh in force; after a broken edit the last good one, with the mistakes.

    Args:
        paths: where the sources and the cache are.
        monitor: the ``--monitor`` option.
        now: Unix seconds.

    Raises:
        InventoryError: the sources are wrong, and no good mesh is known.
    """
    origin = _Origin(
        version=__version__,
        machine=os.uname().nodename,
        sources=tuple(map(_spelt_alike, paths.inventory)),
        monitor=monitor or "",
        ansible_config=ansible_config(os.environ),
    )
    # Another question has another file: a command on another inventory leaves the service its last good mesh.
    # Version, machine and ansible.cfg are no part of it, for that mesh outlives a change of them.
    question = os.fsencode("\0".join((origin.monitor, *origin.sources)))
    file = paths.state / f"mesh-{zlib.crc32(question):08x}.json"
    cache = _stored(file, now)
    fresh = cache is None or not _holds(cache, origin, now)
    if cache is None or fresh:
        cache = _read(origin, now, cache)
        _store(file, cache)
        _forget(file, now)
    if cache.mesh is None:
        raise InventoryError(cache.mistakes)
    return Loaded(cache.mesh, describe(cache.mistakes), fresh)


def _spelt_alike(source: str) -> str:
    """Spell a source always the same way: from the root, without ``.`` and ``..``, as Ansible does itself.

    Links are not followed, as a deployment swaps them: before and after it is the same question, and the last
    good mesh stays.
    """
    return source if "," in source else os.path.abspath(source)  # noqa: PTH100 - absolute() leaves ".." in


def _holds(cache: _Cache, origin: _Origin, now: float) -> bool:
    if cache.origin != origin or any(_print(path) != known for path, known in cache.watched.items()):
        return False
    return not (cache.moving or cache.mistakes) or 0 <= now - cache.read_at < REREAD


def _read(origin: _Origin, now: float, old: _Cache | None) -> _Cache:
    from gpu_mesh.inventory import reader  # a tick that reads nothing must not pay for it

    watched = {path: _print(path) for path in _watched(origin)}  # before: an edit meanwhile is seen next time
    found = reader.read(origin.sources, origin.monitor)
    watched |= {path: _print(path) for path in found.files}
    same = old is not None and (old.origin.sources, old.origin.monitor) == (origin.sources, origin.monitor)
    last_good = old.mesh if old is not None and same else None
    return _Cache(
        origin=origin,
        read_at=now,
        moving=any(_moves(Path(path)) for path in watched),
        watched=watched,
        mistakes=found.mistakes,
        mesh=found.mesh or last_good,
    )


def _watched(origin: _Origin) -> Iterator[str]:
    """Name every file and folder from which the sources are read, and those that would count if they were."""
    if origin.ansible_config:
        yield origin.ansible_config
    for source in map(Path, origin.sources):
        if "," in source.name and not source.exists():
            continue
        yield from _below(source)
        if not source.is_dir():
            yield from _below(source.parent / "group_vars")
            yield from _below(source.parent / "host_vars")


def _below(path: Path) -> Iterator[str]:
    yield str(path)
    seen = set()
    for folder, folders, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        yield from (f"{folder}/{name}" for name in (*folders, *files))


def ansible_config(environ: Mapping[str, str]) -> str:
    """Name the ansible.cfg in force by its absolute path, by Ansible's order; "" when there is none."""
    home, last = environ.get("HOME", "/"), Path("/etc/ansible/ansible.cfg")
    candidates = [Path(home, ".ansible.cfg"), last]
    if not Path.cwd().stat().st_mode & stat.S_IWOTH:  # where anybody may write, Ansible passes it over
        candidates.insert(0, Path("ansible.cfg"))
    if named := environ.get("ANSIBLE_CONFIG"):
        candidates.insert(0, Path(named, "ansible.cfg") if Path(named).is_dir() else Path(named))
    return next((str(path.absolute()) for path in candidates if os.access(path, os.R_OK)), "")


def _print(path: str) -> Print | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - at every tick for each file: a Path would double its cost
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _moves(path: Path) -> bool:
    """Tell whether what Ansible reads from the file can change while the file does not."""
    if not path.is_file():
        return False
    if os.access(path, os.X_OK):
        return True
    try:
        return path.stat().st_size <= _LARGE and _MOVING.search(path.read_bytes()) is not None
    except OSError:
        return False


def _stored(file: Path, now: float) -> _Cache | None:
    """Read the cache, and keep the file's time within a day of its use, for _forget."""
    try:
        with file.open("rb") as stored:
            known = os.fstat(stored.fileno())
            if known.st_uid not in (0, os.geteuid()):
                return None  # it says what a recovery runs: nobody else's word counts
            cache = msgspec.json.decode(stored.read(), type=_Cache)
    except (OSError, msgspec.MsgspecError):
        return None  # none, not for us to read, or of another version: the sources say it all again
    if now - known.st_mtime > _DAY:
        with suppress(OSError):
            os.utime(file, (now, now))
    return cache


def _forget(used: Path, now: float) -> None:
    for file in used.parent.glob("mesh-*.json"):
        with suppress(OSError):  # another command may have removed it, and a reader may not
            if file != used and now - file.stat().st_mtime > _FORGOTTEN:
                file.unlink()


def _store(file: Path, cache: _Cache) -> None:
    """Replace the cache in one step; whoever may not write it, as a person who asks for status, does not."""
    with suppress(OSError):
        temporary = file.with_name(f".{file.name}.{os.getpid()}")  # no lock keeps two from writing at once
        atomic.write(file, msgspec.json.encode(cache), temporary=temporary, mode=0o640)
