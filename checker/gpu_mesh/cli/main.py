"""Finds the folders, runs one command, and turns errors into advice."""

import argparse
import io
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gpu_mesh.cli import access, surroundings
from gpu_mesh.cli.common import STOPPED, UsageError, shell
from gpu_mesh.cli.parser import module, parser
from gpu_mesh.domain.event import Severity
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system import paths
from gpu_mesh.system.log import Log

UNKNOWN = 3
"""The exit status of a monitoring plugin that knows nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    surroundings.prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for icons, in a locale without them
    try:
        known = parser()
        arguments = known.parse_args(argv)
        if arguments.command is None:
            known.print_help()
            sys.stdout.flush()  # here, so that a full disk is noticed
            return 0
        return _run(arguments, sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return STOPPED


def _run(arguments: argparse.Namespace, given: Sequence[str]) -> int:
    """Run the command that the arguments name; turn errors into advice, and return the exit status."""
    command = module(arguments.command)
    arguments.as_root = os.geteuid() == 0
    folders = paths.find(
        os.environ, tuple(arguments.inventory or ()), arguments.state_dir or "", as_root=arguments.as_root
    )
    try:
        become_owner(folders.state)
        arguments.reader = access.is_reader(arguments, given, folders)
        keep_to_readers(folders.state)
        threshold = Severity.INFO if arguments.verbose else Severity.NOTICE
        code = command.run(arguments, folders, Log(folders.log_file, threshold=threshold))
        sys.stdout.flush()  # here, so that a reader who has gone is noticed below
    except (UsageError, StateError) as error:
        from gpu_mesh.text.commands import typed

        if isinstance(error, UsageError):
            said = typed(str(error), shell(arguments, folders))
        else:
            import shlex

            said = str(error).replace("gpu-mesh …", shlex.join(["gpu-mesh", *given]))
        sys.stderr.write(f"gpu-mesh: {said}\n")
        return UNKNOWN if arguments.command == "status" else 2
    except BrokenPipeError:
        # The reader has gone (`gpu-mesh status | head -1`): nothing is left to say, nor to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        place = f": {error.filename}" if error.filename else ""
        sys.stderr.write(f"gpu-mesh: {arguments.command} cannot go on: {error.strerror}{place}\n")
        return UNKNOWN if arguments.command == "status" else 1
    else:
        return int(code)


def keep_to_readers(folder: Path) -> None:
    """Give new files the permissions that the units give them, where the state folder has readers.

    Otherwise the umask of whoever types a command would close the state to the readers, or open it to all.
    """
    with suppress(OSError):
        if folder.stat().st_mode & stat.S_ISGID:
            os.umask(0o027)


def become_owner(folder: Path) -> None:
    """As root, become the owner of the state folder, so that the units can still write to its files."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    import pwd  # only root on a machine with a dedicated user needs it

    group = owner.st_gid
    try:
        account = pwd.getpwuid(owner.st_uid)
    except KeyError:  # a folder mounted into a container: its owner is only a number
        os.setgroups([])
        os.environ["HOME"] = str(folder)
    else:
        group = account.pw_gid  # the folder's is that of the readers
        os.initgroups(account.pw_name, group)
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    os.setgid(group)
    os.setuid(owner.st_uid)
