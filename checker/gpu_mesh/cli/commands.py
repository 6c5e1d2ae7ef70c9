"""The table of commands: each one's module, summary, exit statuses, and who may run it. Values only.

A command's module has ``EXAMPLES``, ``add_arguments(parser)`` and ``run(arguments, paths, log)``. main.py
imports it by name when it is needed, so that a check need not load Ansible, Apprise or the reports.
"""

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct

_DONE = "done"
_UNUSABLE = "the command, the inventory or the state cannot be used"
_USUAL: Mapping[int, str] = {0: _DONE, 2: _UNUSABLE}


class Access(Enum):
    """What a command needs on an installed monitor (access.py)."""

    NOTHING = auto()
    LOOK = auto()  # reads the state: for the readers, too
    ACT = auto()  # changes something, or reads the inventory: for root and the monitor's user


class Command(Struct, frozen=True):
    """One command of gpu-mesh."""

    module: str  # in this folder
    summary: str  # for --help
    exits: Mapping[int, str]  # what each exit status means
    access: Access = Access.ACT  # ``list`` and ``show``, of any command, need LOOK


COMMANDS = {
    "check": Command(
        "check",
        "check every node once",
        {
            0: "every node was probed, whatever its health",
            1: "the monitor could not probe all; with --deliver, what deliver says",
            2: _UNUSABLE,
        },
    ),
    "deliver": Command(
        "deliver",
        "send the alerts that are due",
        {
            0: "done, whatever the services answered",
            1: "a part of the Apprise file, or the state, cannot be used",
            2: _UNUSABLE,
        },
    ),
    "recover": Command(
        "recover",
        "repair what is unhealthy or offline",
        {
            0: "done, whatever came of it; of one node: it serves",
            1: "of one node: it does not serve",
            2: f"{_UNUSABLE}, or there is no such node",
        },
    ),
    "look": Command(
        "look",
        "look at the GPUs of the nodes' hosts",
        {0: _DONE, 1: "a host could not be looked at", 2: f"{_UNUSABLE}, or there is no such node"},
    ),
    "status": Command(
        "status",
        "say what is going on, with the exit status of a monitoring plugin",
        {
            0: "all nodes are healthy",
            1: "one is degraded",
            2: "one is unhealthy or offline",
            3: "one is unknown, nobody watches, or the inventory or the state cannot be used",
        },
        Access.LOOK,
    ),
    "dashboard": Command("dashboard", "print the dashboard", _USUAL, Access.LOOK),
    "top": Command("top", "watch the mesh live in the terminal", _USUAL, Access.LOOK),
    "stats": Command("stats", "print the statistics", _USUAL, Access.LOOK),
    "history": Command("history", "show what happened to the mesh or a node", _USUAL, Access.LOOK),
    "incidents": Command(
        "incidents", "show when nodes were not healthy, why, and what mended them", _USUAL, Access.LOOK
    ),
    "report": Command("report", "sum up a month: availability, incidents, repairs", _USUAL, Access.LOOK),
    "publish": Command("publish", "write the page, its feed and badges, and the status for programs", _USUAL),
    "alerts": Command(
        "alerts",
        "show the history of alerts or one of them, or send a test",
        {
            0: _DONE,
            1: "test: a URL failed, a part of the Apprise file cannot be used, or there was no URL to try",
            2: _UNUSABLE,
        },
    ),
    "ack": Command("ack", "acknowledge a node's trouble: reminders rest, what is worse is alerted", _USUAL),
    "silence": Command("silence", "mute alerts for a while; checks go on", _USUAL),
    "best": Command(
        "best",
        "print the URL of the node to use",
        {0: "there is one", 1: "no node serves, or nobody watches", 2: _UNUSABLE},
        Access.LOOK,
    ),
    "failed": Command(
        "failed",
        "queue an alert that a unit of the monitor failed; gpu-mesh-failure@.service calls it",
        _USUAL,
    ),
    "validate": Command(
        "validate",
        "check the inventory or an Apprise file, all mistakes at once",
        {0: "there is no mistake", 2: "there are mistakes, or the command cannot be used"},
    ),
    "simulate": Command(
        "simulate",
        "show what would follow if nodes behaved as a trace says (docs/simulate.md); changes nothing",
        {
            0: "the story is as the trace expects it, or the trace expects nothing",
            1: "something is not as the trace expects it",
            2: "the command, the trace or the inventory cannot be used",
        },
        Access.NOTHING,
    ),
    "run": Command("run", "watch in the foreground, without systemd: for containers and development", _USUAL),
    "demo": Command(
        "demo",
        "watch a mesh fail and be repaired, on this machine alone",
        {0: "every failure was alerted and repaired", 1: "one was not"},
        Access.NOTHING,
    ),
}


def describe_exits(command: Command) -> str:
    """Return the lines that say when a command exits with which status."""
    return "\n".join(("exit status:", *(f"  {code}  {when}" for code, when in command.exits.items())))
