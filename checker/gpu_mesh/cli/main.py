"""The command line: parses it, settles the folders, hands over to one command, turns errors into advice.

Each command imports what it needs at the moment it runs: a check pays for no Ansible, no Apprise, no jinja2.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from gpu_mesh import __version__
from gpu_mesh.cli import commands, exits, reports
from gpu_mesh.cli.common import STOPPED, UsageError
from gpu_mesh.domain.event import Severity
from gpu_mesh.storage.state_file import StateError
from gpu_mesh.system import paths
from gpu_mesh.system.log import Log

UNKNOWN = 3
"""What a monitoring plugin exits with when it cannot say anything."""

DESCRIPTION = (
    "Watches Ollama nodes, names what is wrong, repairs it, proves the repair and tells the right person."
)
EPILOG = """\
examples:
  gpu-mesh -i inventory validate      is the inventory right?
  gpu-mesh check --deliver            check every node once, then send what there is to say
  gpu-mesh status                     what is going on
  gpu-mesh recover --dry-run          what would be repaired, and why not
  gpu-mesh best --model llama3.2      which node to use
  gpu-mesh demo                       watch a mesh fail and be repaired, on this machine alone
"""


class _Command(Struct, frozen=True):
    run: Callable[[argparse.Namespace, paths.Paths, Log], int]
    summary: str
    examples: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, object]], ...] = ()
    verbs: tuple[tuple[str, "_Command"], ...] = ()  # each with arguments of its own
    usage: str = ""  # where argparse would show as optional what is not


def _option(*names: str, **settings: object) -> tuple[tuple[str, ...], dict[str, object]]:
    return names, settings


_JSON = _option("--json", action="store_true", help="print one JSON object (docs/json.md)")

COMMANDS = {
    "check": _Command(
        commands.check,
        "check every node once",
        "gpu-mesh check\n  gpu-mesh check --deliver",
        (_option("--deliver", action="store_true", help="then deliver the alerts; for cron and by hand"),),
    ),
    "deliver": _Command(commands.deliver, "send the alerts that are due", "gpu-mesh deliver"),
    "recover": _Command(
        commands.recover,
        "repair what is unhealthy or offline",
        "gpu-mesh recover --dry-run\n  gpu-mesh recover iceland --force",
        (
            _option("node", nargs="?", help="only this node"),
            _option("--dry-run", action="store_true", help="say what would be done and why; change nothing"),
            _option("--force", action="store_true", help="now, whatever the thresholds and waits say"),
        ),
    ),
    "status": _Command(
        reports.status,
        "say what is going on, with the exit status of a monitoring plugin",
        "gpu-mesh status\n  gpu-mesh status --json",
        (_JSON,),
    ),
    "dashboard": _Command(
        reports.dashboard,
        "print the dashboard",
        "gpu-mesh dashboard\n  gpu-mesh dashboard --watch",
        (_option("--watch", action="store_true", help="draw it again and again until Ctrl-C"),),
    ),
    "stats": _Command(reports.stats, "print the statistics", "gpu-mesh stats --json", (_JSON,)),
    "alerts": _Command(
        commands.alerts,
        "show the history of alerts, or send a test",
        "gpu-mesh alerts list\n  gpu-mesh alerts test --tag night",
        (
            _option(
                "what", choices=("list", "test"), help="list the alerts, or send one test message a level"
            ),
            _option("--tag", default="", help="test where an alert with this tag would go"),
        ),
    ),
    "silence": _Command(
        commands.silence,
        "mute alerts for a while; checks go on",
        "gpu-mesh silence add iceland --for 2h --reason 'driver update' --no-recovery\n"
        "  gpu-mesh silence list\n  gpu-mesh silence end 3",
        verbs=(
            (
                "add",
                _Command(
                    commands.silence,
                    "mute the alerts of nodes, of groups or of everything",
                    "gpu-mesh silence add iceland --for 2h --reason 'driver update' --no-recovery\n"
                    "  gpu-mesh silence add --all --for 30m --reason 'new switch' --level warning",
                    (
                        _option("names", nargs="*", metavar="NODE|GROUP", help="whose alerts"),
                        _option("--all", action="store_true", help="everybody's, and the monitor's own"),
                        _option(
                            "--for",
                            dest="length",
                            default="",
                            metavar="TIME",
                            help="how long: 30m, 2h, 1h30m, 1d",
                        ),
                        _option("--reason", default="", help="why; others will read it"),
                        _option("--level", action="append", default=[], help="only this level; repeatable"),
                        _option("--no-recovery", action="store_true", help="nothing is repaired meanwhile"),
                    ),
                    usage="%(prog)s (NODE|GROUP ... | --all) --for TIME --reason REASON\n"
                    "       [--level LEVEL ...] [--no-recovery]\n"
                    "       [-h] [-i SOURCE] [--monitor HOST] [--state-dir DIR] [-v]",
                ),
            ),
            (
                "list",
                _Command(commands.silence, "list what is muted, and until when", "gpu-mesh silence list"),
            ),
            (
                "end",
                _Command(
                    commands.silence,
                    "end a silence now",
                    "gpu-mesh silence end 3",
                    (_option("number", type=int, metavar="ID", help="its number in the list"),),
                ),
            ),
        ),
    ),
    "best": _Command(
        reports.best,
        "print the URL of the node to use",
        "gpu-mesh best --model llama3.2",
        (_option("--model", default="", help="only nodes that have this model"), _JSON),
    ),
    "failed": _Command(
        commands.failed,
        "queue an alert that a unit of the monitor failed; gpu-mesh-failure@.service calls it",
        "gpu-mesh failed gpu-mesh-check.service",
        (
            _option("unit", help="the unit; without an ending, a .service"),
            _option("--user", action="store_true", help="it is a unit of the user's own systemd"),
        ),
    ),
    "validate": _Command(
        commands.validate,
        "check the inventory, all mistakes at once",
        "gpu-mesh -i inventory validate",
        (_JSON,),
    ),
    "simulate": _Command(
        commands.simulate,
        "tell what would follow if nodes showed what a trace says (docs/simulate.md); changes nothing",
        "gpu-mesh simulate trace.yml\n  gpu-mesh simulate trace.yml --set recovery_max_attempts=1",
        (
            _option("trace", metavar="TRACE", help="a YAML file"),
            _option(
                "--set",
                dest="given",
                action="append",
                default=[],
                metavar="NAME=VALUE",
                help="a setting (mesh_monitor_NAME) for this story; repeatable",
            ),
            _JSON,
        ),
    ),
    "run": _Command(
        commands.run,
        "watch in the foreground, without systemd: for containers and development",
        "gpu-mesh -i inventory --state-dir ./state run",
    ),
    "demo": _Command(
        commands.demo, "watch a mesh fail and be repaired, on this machine alone", "gpu-mesh demo"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # icons, in a locale that has none
    arguments = _parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    try:
        folders = paths.find(
            os.environ, tuple(arguments.inventory or ()), arguments.state_dir or "", as_root=os.geteuid() == 0
        )
        _become_owner(folders.state)
        threshold = Severity.INFO if arguments.verbose else Severity.NOTICE
        code = command.run(arguments, folders, Log(folders.log_file, threshold=threshold))
        sys.stdout.flush()  # here, so that a reader who has gone is noticed below
    except (UsageError, StateError) as error:
        sys.stderr.write(f"gpu-mesh: {error}\n")
        return UNKNOWN if arguments.command == "status" else 2
    except KeyboardInterrupt:
        return STOPPED
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
        return code


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_shared(shared)
    parser = argparse.ArgumentParser(
        prog="gpu-mesh",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_shared(parser)
    parser.add_argument("--version", action="version", version=f"gpu-mesh {__version__}")
    _add_commands(parser, COMMANDS.items(), "command", shared)
    return parser


def _add_commands(
    parser: argparse.ArgumentParser,
    known: Iterable[tuple[str, _Command]],
    dest: str,
    shared: argparse.ArgumentParser,
) -> None:
    subparsers = parser.add_subparsers(dest=dest, required=True, metavar=dest.upper())
    for name, command in known:
        subparser = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"{exits.described(name)}\n\nexamples:\n  {command.examples}",
            usage=command.usage or None,
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for names, settings in command.arguments:
            subparser.add_argument(*names, **settings)  # type: ignore[arg-type] # the table's keyword arguments
        if command.verbs:
            _add_commands(subparser, command.verbs, "what", shared)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand before the command as well as after it."""
    parser.add_argument(
        "-i",
        "--inventory",
        action="append",
        metavar="SOURCE",
        help="an Ansible inventory: file, folder or script; may be given several times",
    )
    parser.add_argument("--monitor", metavar="HOST", help="the host of mesh_monitors whose settings count")
    parser.add_argument("--state-dir", metavar="DIR", help="where state and log are kept")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every check on standard error too")


def _become_owner(folder: Path) -> None:
    """As root, become the owner of the state folder: what the units may write stays theirs."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid == 0:
        return
    import pwd  # only root on a machine with a dedicated user needs it

    try:
        account = pwd.getpwuid(owner.st_uid)
    except KeyError:  # a folder mounted into a container: its owner is only a number
        os.setgroups([])
        os.environ["HOME"] = str(folder)
    else:
        os.initgroups(account.pw_name, owner.st_gid)
        os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
