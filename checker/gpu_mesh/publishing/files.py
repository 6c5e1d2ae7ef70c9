"""Writes what is published, a file at a time by rename, and takes away what is published no longer.

A web server sees an old file or a new one, never half of one. Who may read is decided here, whatever the
umask. What somebody else has put into the folders is left alone. Nothing is flushed to the disk: what a power
cut takes away is written again within a minute.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from gpu_mesh.publishing.badges import MARK
from gpu_mesh.system import files
from gpu_mesh.text.file_names import escaped, safe_name

BADGES = "badge"
"""The sub-folder of the badges."""

AGENT = "agent"
"""The sub-folder of what HAProxy is told (routing/agent.py)."""

UNTIL = ".until"
"""The file in it that says until when it counts, in Unix seconds. No node's file begins with a dot."""

MESH_BADGE = "mesh"

_LARGEST = 64_000_000  # bytes of a file that is compared
_WORDS = re.compile(rb"(drain|up ready [0-9]+%)\n(drain|up ready [0-9]+%)\n|[0-9]+\n")
_NEW = ".gpu-mesh.new"
_NAMES = ("index.html", "status.json", "best.json", "feed.xml", "metrics", "gpu_mesh.prom")


class Readers(Struct, frozen=True):
    """The permissions of folders and files."""

    folder: int
    file: int


OWN = Readers(0o750, 0o640)
"""For the group of the folder above, which a folder with the setgid bit hands down."""

EVERYBODY = Readers(0o755, 0o644)


def badge_name(key: str) -> str:
    """Return the name of a node's badge, a safe one. That of a node called mesh is ``=6Desh.svg``."""
    safe = safe_name(key)
    return f"{escaped(safe[0])}{safe[1:]}.svg" if safe == MESH_BADGE else f"{safe}.svg"


def write(folder: Path, texts: Mapping[str, str], badges: Mapping[str, str], readers: Readers) -> None:
    """Write the page's set; an unchanged file stays as it is. Badges of nodes that are gone are removed.

    Args:
        folder: made if it is missing; one that exists keeps its permissions.
        texts: the content of each file, by its name.
        badges: the same in the sub-folder of the badges.
        readers: who may read.

    Raises:
        OSError: something cannot be written.
    """
    _make(folder, readers)
    _make(folder / BADGES, readers)
    for name, text in badges.items():
        _put(folder / BADGES / name, text, readers)
    _remove(folder / BADGES, lambda path: path.name not in badges and _is_badge(path))
    for name, text in texts.items():
        _put(folder / name, text, readers)


def write_agent(folder: Path, texts: Mapping[str, str], until: float, readers: Readers) -> None:
    """Write what HAProxy is told of each node; files of nodes that are gone are removed.

    Args:
        folder: that of the page; made if it is missing.
        texts: the content of each file, by its name.
        until: Unix seconds after which nobody watches any more.
        readers: who may read.

    Raises:
        OSError: something cannot be written.
    """
    agent = folder / AGENT
    _make(folder, readers)
    _make(agent, readers)
    for name, text in texts.items():
        _put(agent / name, text, readers)
    _put(agent / UNTIL, f"{until:.0f}\n", readers)  # the last one: it vouches for the others
    _remove(agent, lambda path: path.name not in texts and path.name != UNTIL and _is_agents(path))


def withdraw_agent(folder: Path) -> None:
    """Take away what HAProxy was told.

    Raises:
        OSError: something cannot be removed.
    """
    _remove(folder / AGENT, _is_agents)


def withdraw(folder: Path) -> None:
    """Take away what is published in a folder; the folder stays.

    Raises:
        OSError: something cannot be removed.
    """
    if _is_badge(folder / BADGES / f"{MESH_BADGE}.svg"):  # else these are somebody else's
        _remove(folder / BADGES, _is_badge)
        _remove(folder, lambda path: path.name in _NAMES)


def _make(folder: Path, readers: Readers) -> None:
    # Not by chmod: that would take away the setgid bit, or be refused where units may not set it.
    umask = os.umask(0)
    try:
        folder.mkdir(mode=readers.folder, exist_ok=True)
    except FileExistsError:
        # It may be a link of the operator's to a disk that is not there just now, so it is not set aside.
        what = "it is no folder: see what put it there, and remove it"
        raise NotADirectoryError(errno.ENOTDIR, what, str(folder)) from None
    finally:
        os.umask(umask)


def _put(path: Path, text: str, readers: Readers) -> None:
    data = text.encode(errors="replace")
    if _is_as_wanted(path, data, readers):
        return
    new = path.with_name(_NEW)
    opened = files.open_own(new, os.O_WRONLY | os.O_TRUNC, readers.file)
    with os.fdopen(opened, "wb") as file:
        os.fchmod(file.fileno(), readers.file)
        file.write(data)
    try:
        new.replace(path)
    except IsADirectoryError:
        files.set_aside(path)
        new.replace(path)


def _is_as_wanted(path: Path, data: bytes, readers: Readers) -> bool:
    try:
        found = path.lstat()
        return (
            stat.S_IMODE(found.st_mode) == readers.file
            and found.st_gid == path.parent.stat().st_gid
            and files.read(path, _LARGEST) == data
        )
    except (OSError, files.NoFileError):
        return False


def _remove(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name == _NEW or is_ours(path):
            files.remove(path)


def _is_badge(path: Path) -> bool:
    if path.suffix != ".svg" or path.is_symlink():
        return False
    try:
        return files.read(path, _LARGEST).startswith(MARK.encode())
    except (OSError, files.NoFileError):
        return False


def _is_agents(path: Path) -> bool:
    if path.is_symlink():
        return False
    try:
        return _WORDS.fullmatch(files.read(path, _LARGEST)) is not None
    except (OSError, files.NoFileError):
        return False
