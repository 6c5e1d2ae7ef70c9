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


class Group(Enum):
    """What a command is for; the value is its heading in the help."""

    WATCH = "Watch the mesh"
    LOOK = "See how it is, and how it was"
    REPAIR = "Repair"
    ALERTS = "Alerts"
    SET_UP = "Set up and try out"


class Command(Struct, frozen=True):
    """One command of gpu-mesh."""

    module: str  # in this folder
    group: Group | None  # None: units call it, and the help leaves it out
    summary: str  # for --help
    exits: Mapping[int, str]  # what each exit status means
    access: Access = Access.ACT  # ``list``, ``show`` and ``nodes``, of any command, need LOOK


COMMANDS = {
    "check": Command(
        "check",
        Group.WATCH,
        "check every node once",
        {
            0: "every node was probed, whatever its health",
            1: "the monitor could not probe all; with --deliver, what deliver says",
            2: _UNUSABLE,
        },
    ),
    "deliver": Command(
        "deliver",
        Group.ALERTS,
        "send the alerts that are due",
        {
            0: "done, whatever the services answered",
            1: "a part of the Apprise file or of alertmanager.yml, or the state, cannot be used",
            2: _UNUSABLE,
        },
    ),
    "recover": Command(
        "recover",
        Group.REPAIR,
        "repair what is unhealthy or offline",
        {
            0: "done, whatever came of it; of one node: it serves",
            1: "of one node: it does not serve",
            2: f"{_UNUSABLE}, or there is no such node",
        },
    ),
    "look": Command(
        "look",
        Group.REPAIR,
        "look at the GPUs of the nodes' hosts",
        {0: _DONE, 1: "a host could not be looked at", 2: f"{_UNUSABLE}, or there is no such node"},
    ),
    "status": Command(
        "status",
        Group.LOOK,
        "say what is going on, with the exit status of a monitoring plugin",
        {
            0: "all nodes are healthy",
            1: "one is degraded",
            2: "one is unhealthy or offline",
            3: "one is unknown, nobody watches, or the inventory or the state cannot be used",
        },
        Access.LOOK,
    ),
    "dashboard": Command("dashboard", Group.LOOK, "print the dashboard", _USUAL, Access.LOOK),
    "top": Command("top", Group.LOOK, "watch the mesh live in the terminal", _USUAL, Access.LOOK),
    "stats": Command("stats", Group.LOOK, "print the statistics", _USUAL, Access.LOOK),
    "history": Command(
        "history", Group.LOOK, "show what happened to the mesh or a node", _USUAL, Access.LOOK
    ),
    "incidents": Command(
        "incidents",
        Group.LOOK,
        "show when nodes were not healthy, why, and what mended them",
        _USUAL,
        Access.LOOK,
    ),
    "report": Command(
        "report", Group.LOOK, "sum up a month: availability, incidents, repairs", _USUAL, Access.LOOK
    ),
    "publish": Command(
        "publish", Group.LOOK, "write the page, its feed and badges, and the status for programs", _USUAL
    ),
    "alerts": Command(
        "alerts",
        Group.ALERTS,
        "show the history of alerts or one of them, or send a test",
        {
            0: _DONE,
            1: "test: one of the receivers failed, a part of a file cannot be used, or there was none to try",
            2: _UNUSABLE,
        },
    ),
    "ack": Command(
        "ack", Group.ALERTS, "acknowledge a node's trouble: only what is worse is alerted", _USUAL
    ),
    "silence": Command("silence", Group.ALERTS, "mute alerts for a while; checks go on", _USUAL),
    "best": Command(
        "best",
        Group.LOOK,
        "print the URL of the node to use",
        {0: "there is one", 1: "no node serves, or nobody watches", 2: _UNUSABLE},
        Access.LOOK,
    ),
    "drain": Command(
        "drain", Group.REPAIR, "send no new requests to a node for a while; checks and repairs go on", _USUAL
    ),
    "undrain": Command("undrain", Group.REPAIR, "send requests to a drained node again", _USUAL),
    "wake": Command(
        "wake",
        Group.REPAIR,
        "wake a node that sleeps, and wait until it serves",
        {0: "it serves", 1: "it does not serve in time", 2: f"{_UNUSABLE}, or the node cannot be woken"},
    ),
    "cluster": Command(
        "cluster",
        Group.LOOK,
        "show the monitors that share this mesh, or have another one lead it",
        {
            0: "one of them leads",
            1: "none leads, or etcd is away",
            2: f"{_UNUSABLE}, or this monitor is alone",
        },
    ),
    "lead": Command(
        "lead",
        None,
        "renew this monitor's lease, and lead the mesh if it is its turn; gpu-mesh-lead.timer calls it",
        {0: f"{_DONE}, or etcd is away", 1: "etcd refuses", 2: _UNUSABLE},
    ),
    "failed": Command(
        "failed",
        None,
        "queue an alert that a unit of the monitor failed; gpu-mesh-failure@.service calls it",
        _USUAL,
    ),
    "init": Command(
        "init",
        Group.SET_UP,
        "begin a mesh: find the Ollama on this machine, take further ones, write the inventory",
        {
            0: "the inventory is written, whatever its nodes answered",
            2: "there is an inventory already, there is no node, or the command cannot be used",
        },
    ),
    "validate": Command(
        "validate",
        Group.SET_UP,
        "check the inventory, an Apprise file or Alertmanagers, all mistakes at once",
        {
            0: "there is no mistake",
            1: "--exposure: a node is exposed, or versions differ",
            2: "there are mistakes, or the command cannot be used",
        },
    ),
    "export": Command(
        "export",
        Group.SET_UP,
        "print the configuration of HAProxy, nginx or LiteLLM for the mesh",
        _USUAL,
    ),
    "simulate": Command(
        "simulate",
        Group.SET_UP,
        "show what would follow if nodes behaved as a trace says (docs/simulate.md); changes nothing",
        {
            0: "the story is as the trace expects it, or the trace expects nothing",
            1: "something is not as the trace expects it",
            2: "the command, the trace or the inventory cannot be used",
        },
        Access.NOTHING,
    ),
    "run": Command(
        "run", Group.WATCH, "watch in the foreground, without systemd: for containers and development", _USUAL
    ),
    "completion": Command(
        "completion",
        Group.SET_UP,
        "print the completions for bash, zsh or fish, or the man page",
        {0: _DONE, 2: "there is no such shell, or the inventory cannot be used"},
        Access.NOTHING,
    ),
    "demo": Command(
        "demo",
        Group.SET_UP,
        "watch a mesh fail and be repaired, on this machine alone",
        {0: "every failure was alerted and repaired", 1: "one was not"},
        Access.NOTHING,
    ),
}


def in_groups() -> Mapping[Group, Mapping[str, Command]]:
    """Return the commands that people type, by what they are for."""
    return {
        group: {name: command for name, command in COMMANDS.items() if command.group is group}
        for group in Group
    }


def describe_exits(command: Command) -> str:
    """Return the lines that say when a command exits with which status."""
    return "\n".join(("exit status:", *(f"  {code}  {when}" for code, when in command.exits.items())))
