"""Says what a person can do when the state cannot be read or written: each kind of error has its own step."""

import errno
import os
import shlex
from pathlib import Path

ELSEWHERE = "or name another folder with --state-dir"

_STEPS = {
    errno.ENOSPC: "make room: df -h {folder} and df -i {folder} show what is used up, bytes or inodes",
    errno.EDQUOT: "make room, or raise the quota of {owner}: quota -s -u {owner}",
    errno.EROFS: "findmnt -T {folder} shows how its disk is mounted; after an error of the disk, "
    "see dmesg first, then: sudo mount -o remount,rw MOUNTPOINT",
    errno.EFBIG: "this process may not write files of that size: raise LimitFSIZE= of the unit, or ulimit -f",
    errno.EIO: "its disk may be failing: dmesg | tail",
    errno.ESTALE: "its network disk is gone: findmnt -T {folder}; mount it again",
    errno.ENOLCK: f"its disk gives no locks (NFS without lockd?); put it on a local disk, {ELSEWHERE}",
    errno.EMFILE: "this process may not open more files: raise LimitNOFILE= of the unit, or ulimit -n",
    errno.ENFILE: "this machine has no room for more open files: sysctl fs.file-nr; raise fs.file-max",
    errno.ENOMEM: "this machine is out of memory: free -m",
    errno.EISDIR: "a folder is in the place of a file; look at it, then move it away",
    errno.ELOOP: "a link is in the place of a file; look where it leads, then remove it",
    errno.ENOTDIR: f"a file is in the place of a folder; move it away, {ELSEWHERE}",
    errno.EEXIST: f"a file is in the place of a folder; move it away, {ELSEWHERE}",
}
"""By number: what to do. Everything else is a matter of permissions, or not known."""


def next_step(error: OSError, path: Path) -> str:
    """Return what to do about an error at a file of the state folder.

    Args:
        error: the error.
        path: the state file; the nearest folder above it that exists is looked at.
    """
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    if step := _STEPS.get(error.errno or 0):
        return step.format(folder=shlex.quote(str(folder)), owner=_owner(folder))
    if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return f"see which file it is, and whose: ls -la {shlex.quote(str(folder))}; {ELSEWHERE}"
    return as_owner(folder)


def as_owner(folder: Path) -> str:
    """Say how somebody who may not use the folder can."""
    if os.geteuid() == folder.stat().st_uid:
        place = shlex.quote(str(folder))
        return f"not even its owner may write there: ls -ld {place}; lsattr -d {place}; findmnt -T {place}"
    owner = _owner(folder)
    become = "sudo" if owner == "root" else f"sudo -u {owner}"
    return f"run it as the owner of {folder}: {become} gpu-mesh …, or name a folder of yours with --state-dir"


def _owner(folder: Path) -> str:
    """Name the owner as sudo takes it; an account that is only a number, as in a container, is ``#1000``."""
    try:
        return folder.owner()
    except KeyError:
        return f"'#{folder.stat().st_uid}'"
