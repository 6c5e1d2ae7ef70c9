"""Decides who may run which command on an installed monitor, and tells everybody else what to type.

Root and the monitor's user may do everything. The group of the state folder (``mesh_monitor_readers``) may
look. Without an installed monitor, or with ``-i`` or ``--state-dir``, the permissions of the files decide.
"""

import argparse
import os
import stat
from collections.abc import Sequence

from gpu_mesh.cli.commands import COMMANDS, Access
from gpu_mesh.cli.common import UsageError, shell
from gpu_mesh.system.paths import Paths


def is_reader(arguments: argparse.Namespace, given: Sequence[str], paths: Paths) -> bool:
    """Return whether this user may only look at the monitor, and so reads what is there for readers.

    Args:
        arguments: the parsed command line.
        given: the command line as it was typed.
        paths: the monitor's folders.

    Raises:
        UsageError: this user may not run the command; the message says what to type instead.
    """
    try:
        folder = paths.state.stat()
    except OSError:
        return False  # the command itself says what is missing
    needed = _needed(arguments)
    if os.geteuid() in (0, folder.st_uid) or needed is Access.NOTHING:
        return False
    where = shell(arguments, paths)
    if not where.installed or where.user:
        return False
    import shlex  # only who was refused reads it

    instead = shlex.join(["sudo", "gpu-mesh", *given])
    if needed is Access.ACT:
        raise UsageError(f"only root and {where.owner} may do this: {instead}")
    if not os.access(paths.state, os.R_OK | os.X_OK):
        raise UsageError(f"only root and {_readers(folder, where.owner)} may look at this monitor: {instead}")
    return True


def _needed(arguments: argparse.Namespace) -> Access:
    if getattr(arguments, "what", "") in ("list", "show", "nodes"):
        return Access.LOOK
    if getattr(arguments, "apprise", None) or getattr(arguments, "alertmanager", None):  # a person's own file
        return Access.NOTHING
    return COMMANDS[arguments.command].access


def _readers(folder: os.stat_result, owner: str) -> str:
    """Return who besides root may look at the state in that folder, and how to become one of them."""
    import grp
    import pwd  # only for somebody who may not look

    try:
        group, person = grp.getgrgid(folder.st_gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's, which are only numbers
        return owner
    if not folder.st_mode & stat.S_ISGID:  # site.yml sets that bit where there are readers
        return owner
    if person in group.gr_mem:
        return f"the group {group.gr_name} (which counts from your next login on)"
    return f"the group {group.gr_name} (sudo usermod -aG {group.gr_name} {person}, then log in again)"
