"""Caches the resolved mesh between ticks, for every command: Ansible reads the sources only if one changed.

A hit costs one small read and a stat for each file of the inventory. The cache holds what the inventory
holds, but for the secrets in files of their own (inventory/value_types.py): so it is for those who may read
the inventory. Who may only look at the state gets less: storage/mesh_file.py.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, field

from gpu_mesh import __version__
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.inventory.mistakes import InventoryError, Mistake, describe
from gpu_mesh.system import atomic
from gpu_mesh.system.files import without_waiting
from gpu_mesh.system.paths import Paths

REREAD = 300.0  # seconds: for dynamic sources, and for mistakes that may go away by themselves
LARGEST = 64_000_000
"""Bytes that a cache may have; a node takes less than a thousand."""

_DAY = 86400.0
_UNUSED = 7 * _DAY  # seconds after which a cache that no command used is removed
_LARGE = 1_000_000  # bytes; a longer file is not searched for dynamic values
_DYNAMIC = rb"(?m)^plugin\s*:|\b(lookup|query|q)\s*\("

Fingerprint = tuple[int, int, int, int]  # mtime_ns, ctime_ns, size, inode


class Loaded(Struct, frozen=True):
    """The mesh in force."""

    mesh: Mesh
    error: str = ""  # why the newest edit of the inventory is not in force: every mistake, one a line
    fresh: bool = False  # whether Ansible has just read the sources


class _Origin(Struct, frozen=True):
    """What a cache was made from, and by what; with another origin it must be made again."""

    version: str
    machine: str
    sources: tuple[str, ...]
    monitor: str
    ansible_config: str


class _Cache(Struct, frozen=True):
    """The content of mesh-….json: one file for each set of sources and monitor."""

    origin: _Origin
    read_at: float
    dynamic: bool = field(name="moving")  # has a script, a plugin or a lookup: read again after REREAD
    watched: dict[str, Fingerprint | None]  # by path; None: the file does not exist yet
    mistakes: tuple[Mistake, ...] = ()
    mesh: Mesh | None = None  # the last good one


def load(paths: Paths, monitor: str | None, now: float) -> Loaded:
    """Return the mesh in force. After an edit with mistakes that is the last good one, with the mistakes.

    Args:
        paths: where the sources and the cache are.
        monitor: the ``--monitor`` option.
        now: Unix seconds.

    Raises:
        InventoryError: the sources have mistakes, and no good mesh is known.
    """
    origin = _Origin(
        version=__version__,
        machine=os.uname().nodename,
        sources=tuple(map(_spelt_alike, paths.inventory)),
        monitor=monitor or "",
        ansible_config=ansible_config(os.environ),
    )
    # Other sources have another file: a command with another inventory must not replace the service's last
    # good mesh. Version, machine and ansible.cfg are not part of the name: that mesh outlives their changes.
    identity = os.fsencode("\0".join((origin.monitor, *origin.sources)))
    file = paths.cache / f"mesh-{zlib.crc32(identity):08x}.json"
    cache = _stored(file, now)
    fresh = cache is None or not _is_valid(cache, origin, now)
    if cache is None or fresh:
        cache = _read(origin, now, cache)
        _store(file, cache)
        _remove_unused(file, now)
    if cache.mesh is None:
        raise InventoryError(cache.mistakes)
    return Loaded(cache.mesh, describe(cache.mistakes), fresh)


def _spelt_alike(source: str) -> str:
    """Return a source in one spelling: an absolute path without ``.`` and ``..``, as Ansible makes it.

    Links are not followed, since a deployment swaps them: the source keeps its name then, and so its cache.
    """
    return source if "," in source else os.path.abspath(source)  # noqa: PTH100 - absolute() leaves ".." in


def _is_valid(cache: _Cache, origin: _Origin, now: float) -> bool:
    if cache.origin != origin or any(_fingerprint(path) != known for path, known in cache.watched.items()):
        return False
    return not (cache.dynamic or cache.mistakes) or 0 <= now - cache.read_at < REREAD


def _read(origin: _Origin, now: float, old: _Cache | None) -> _Cache:
    from gpu_mesh.inventory import reader  # imported late: most ticks read nothing

    # Before the reading, so that the next tick notices an edit made meanwhile.
    watched = {path: _fingerprint(path) for path in _watched(origin)}
    found = reader.read(origin.sources, origin.monitor)
    watched |= {path: _fingerprint(path) for path in found.files}
    same = old is not None and (old.origin.sources, old.origin.monitor) == (origin.sources, origin.monitor)
    last_good = old.mesh if old is not None and same else None
    return _Cache(
        origin=origin,
        read_at=now,
        dynamic=any(_is_dynamic(Path(path)) for path in watched),
        watched=watched,
        mistakes=found.mistakes,
        mesh=found.mesh or last_good,
    )


def _watched(origin: _Origin) -> Iterator[str]:
    """Yield every file and folder that Ansible reads, and those that it would read if they existed."""
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
    """Return the absolute path of the ansible.cfg that Ansible uses; "": there is none."""
    home, last = environ.get("HOME", "/"), Path("/etc/ansible/ansible.cfg")
    candidates = [Path(home, ".ansible.cfg"), last]
    if not Path.cwd().stat().st_mode & stat.S_IWOTH:  # Ansible ignores it in a world-writable folder
        candidates.insert(0, Path("ansible.cfg"))
    if named := environ.get("ANSIBLE_CONFIG"):
        candidates.insert(0, Path(named, "ansible.cfg") if Path(named).is_dir() else Path(named))
    return next((str(path.absolute()) for path in candidates if os.access(path, os.R_OK)), "")


def _fingerprint(path: str) -> Fingerprint | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - for each file in every tick: a Path would double the cost
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _is_dynamic(path: Path) -> bool:
    """Return whether what Ansible gets from the file can change although the file does not."""
    if not path.is_file():
        return False
    if os.access(path, os.X_OK):
        return True
    try:
        return path.stat().st_size <= _LARGE and re.search(_DYNAMIC, path.read_bytes()) is not None
    except OSError:
        return False


def _stored(file: Path, now: float) -> _Cache | None:
    """Read the cache; once a day, note its use in the file's time, for _remove_unused."""
    try:
        with open(file, "rb", opener=without_waiting) as stored:
            known = os.fstat(stored.fileno())
            if known.st_uid not in (0, os.geteuid()):
                return None  # it decides what a recovery runs: do not trust a file of another user
            if known.st_size > LARGEST:
                return None  # no cache: its bytes would fill the memory of each command
            cache = msgspec.json.decode(stored.read(), type=_Cache)
    except (OSError, msgspec.MsgspecError):
        return None  # missing, unreadable, or of another version: the sources are read again
    if now - known.st_mtime > _DAY:
        with suppress(OSError):
            os.utime(file, (now, now))
    return cache


def _remove_unused(used: Path, now: float) -> None:
    with suppress(OSError):  # this user may not even look for them
        files = [file for file in used.parent.glob("mesh-*.json") if file != used]
        for file in files:
            with suppress(OSError):  # another command may have removed it, or this user may not
                if now - file.stat().st_mtime > _UNUSED:
                    file.unlink()


def _store(file: Path, cache: _Cache) -> None:
    """Replace the cache in one step. A user who may not write it, such as one who runs status, skips this."""
    with suppress(OSError):
        if file.parent.parent.is_dir():  # a command that only asks makes no state folder
            file.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")  # without a lock, two processes may write
        atomic.write(file, msgspec.json.encode(cache), temporary=temporary, mode=0o600)
