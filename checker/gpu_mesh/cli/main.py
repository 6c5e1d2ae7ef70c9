"""Parses the command line, finds the folders, runs one command, and turns errors into advice."""

import argparse
import importlib
import io
import os
import shlex
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu_mesh import __version__
from gpu_mesh.cli import access, surroundings
from gpu_mesh.cli.commands import COMMANDS, describe_exits
from gpu_mesh.cli.common import STOPPED, UsageError, add_shared, shell
from gpu_mesh.domain.event import Severity
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system import paths
from gpu_mesh.system.log import Log

UNKNOWN = 3
"""The exit status of a monitoring plugin that knows nothing."""

DESCRIPTION = (
    "Watches Ollama nodes, names what is wrong, repairs it, proves the repair and tells the right person."
)
EPILOG = """\
examples:
  gpu-mesh -i inventory validate      is the inventory right?
  gpu-mesh check --deliver            check every node once, then send the alerts that are due
  gpu-mesh status                     what is going on
  gpu-mesh recover --dry-run          what would be repaired, and why not
  gpu-mesh best --model llama3.2      which node to use
  gpu-mesh demo                       watch a mesh fail and be repaired, on this machine alone
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    surroundings.prepare()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for icons, in a locale without them
    try:
        arguments = parser().parse_args(argv)
        return _run(arguments, sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return STOPPED


def _run(arguments: argparse.Namespace, given: Sequence[str]) -> int:
    """Run the command that the arguments name; turn errors into advice, and return the exit status."""
    command = _module(arguments.command)
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


def _module(name: str) -> Any:
    return importlib.import_module(f"gpu_mesh.cli.{COMMANDS[name].module}")


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command; it imports the command's module when it parses."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Add the command's own arguments, then parse."""
        name = self.prog.rpartition(" ")[2]
        module, command = _module(name), COMMANDS[name]
        self.description = f"{command.summary[0].upper()}{command.summary[1:]}."
        self.epilog = f"{describe_exits(command)}\n\nexamples:\n  {module.EXAMPLES}"
        add_shared(self, inherited=True)
        module.add_arguments(self)
        return super().parse_known_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog="gpu-mesh",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_shared(whole)
    whole.add_argument("--version", action="version", version=f"gpu-mesh {__version__}")
    commands = whole.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser
    )
    for name, command in COMMANDS.items():
        commands.add_parser(
            name,
            help=command.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    return whole


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
