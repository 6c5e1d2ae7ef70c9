"""Keeps session-….json in the runtime folder: what this monitor last heard from etcd.

``gpu-mesh lead`` alone writes it. Every other command reads from it what this monitor does for the mesh now,
without asking etcd. The name tells of which state folder it is, as that of emergency-….json does.
"""

import os
import time
import zlib
from pathlib import Path

import msgspec

from gpu_mesh.cluster.leadership import role
from gpu_mesh.domain.cluster import Role, Session
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.system import atomic, files, host
from gpu_mesh.system.paths import Paths

LARGEST = 100_000
"""Bytes that the file may have."""


def since_boot() -> float:
    """Return the seconds since this machine's boot, also those for which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(paths: Paths, monitor: str) -> Session | None:
    """Return what this monitor last heard; None: nothing since its boot."""
    try:
        session = msgspec.json.decode(files.read(_file(paths), LARGEST), type=Session)
    except (OSError, ValueError):
        return None
    return session if (session.monitor, session.boot) == (monitor, host.boot(os.environ)) else None


def write(paths: Paths, session: Session) -> None:
    """Keep what was heard.

    Raises:
        OSError: it cannot be written.
    """
    file = _file(paths)
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    atomic.write(
        file, msgspec.json.encode(session), temporary=file.with_name(f".{file.name}.new"), mode=0o640
    )


def role_of(paths: Paths, mesh: Mesh) -> Role:
    """Return what this monitor does for the mesh now; one without others leads."""
    if not mesh.cluster.endpoints:
        return Role.LEADER
    session = read(paths, mesh.monitor)
    return role(session, since_boot(), mesh.settings.check_interval)


def endpoints(paths: Paths, mesh: Mesh) -> tuple[str, ...]:
    """Return the endpoints of etcd, the one that answered last first: a dead one costs seconds."""
    session, known = read(paths, mesh.monitor), mesh.cluster.endpoints
    best = session.endpoint if session and session.endpoint in known else ""
    return tuple(sorted(known, key=lambda each: each != best)) if best else tuple(known)


def _file(paths: Paths) -> Path:
    of = zlib.crc32(os.fsencode(paths.state.absolute()))
    return paths.runtime / f"session-{of:08x}.json"
