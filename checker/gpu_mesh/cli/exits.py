"""Says what each command exits with, for its --help. Values only."""

_DONE = "done"
_UNUSABLE = "the command, the inventory or the state cannot be used"
_USUAL = {0: _DONE, 2: _UNUSABLE}

EXITS: dict[str, dict[int, str]] = {
    "check": {
        0: "every node was probed, whatever its health",
        1: "the monitor could not probe all; with --deliver, what deliver says",
        2: _UNUSABLE,
    },
    "deliver": {
        0: "done, whatever the services answered",
        1: "a part of the Apprise file, or the state, cannot be used",
        2: _UNUSABLE,
    },
    "recover": {
        0: "done, whatever came of it; of one node: it serves",
        1: "of one node: it does not serve",
        2: f"{_UNUSABLE}, or there is no such node",
    },
    "status": {
        0: "all nodes are healthy",
        1: "one is degraded",
        2: "one is unhealthy or offline",
        3: "one is unknown, nobody watches, or the inventory or the state cannot be used",
    },
    "alerts": {
        0: _DONE,
        1: "test: a URL failed, a part of the Apprise file cannot be used, or there was no URL to try",
        2: _UNUSABLE,
    },
    "best": {0: "there is one", 1: "no node is healthy, or nobody watches", 2: _UNUSABLE},
    "validate": {0: "there is no mistake", 2: "there are mistakes, or the command cannot be used"},
    "simulate": {
        0: "told, and as expected where the trace expects something",
        1: "something is not as the trace expects it",
        2: "the command, the trace or the inventory cannot be used",
    },
    "demo": {0: "every failure was told and repaired", 1: "one was not"},
}


def described(command: str) -> str:
    """Return the lines on what a command exits with, and when."""
    ends = EXITS.get(command, _USUAL)
    return "\n".join(("exit status:", *(f"  {code}  {when}" for code, when in ends.items())))
