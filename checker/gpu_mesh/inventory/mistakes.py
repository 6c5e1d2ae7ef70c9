"""Describes the mistakes in an inventory to a person: all at once, each with its place."""

from collections.abc import Iterable

from msgspec import Struct

_HOSTS_NAMED = 3


class Mistake(Struct, frozen=True):
    """One thing that is wrong. The message follows the variable's name: "must be …, not 'soon'"."""

    message: str
    host: str = ""  # inventory_hostname; "": the mesh, or a file, as a whole
    variable: str = ""
    place: str = ""  # file:line, or only the file; "": not known


class InventoryError(Exception):
    """The inventory does not describe a mesh. ``str()`` gives every mistake, one a line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(describe(self.mistakes))


def describe(mistakes: Iterable[Mistake]) -> str:
    """Return the mistakes, one a line: ``file:line: host: variable what is wrong``.

    A mistake that many hosts share, such as one in a group's variables, has one line.
    """
    hosts: dict[tuple[str, str, str], list[str]] = {}
    for mistake in mistakes:
        shared = hosts.setdefault((mistake.place, mistake.variable, mistake.message), [])
        if mistake.host and mistake.host not in shared:
            shared.append(mistake.host)
    return "\n".join(_line(*key, names) for key, names in hosts.items())


def _line(place: str, variable: str, message: str, hosts: list[str]) -> str:
    named = ", ".join(hosts[:_HOSTS_NAMED])
    if len(hosts) > _HOSTS_NAMED:
        named += f" and {len(hosts) - _HOSTS_NAMED} more"
    return ": ".join(filter(None, [place, named, f"{variable} {message}".lstrip()]))
