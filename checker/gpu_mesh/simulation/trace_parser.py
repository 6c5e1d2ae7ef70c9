"""Turns a file's content into a trace, or finds every mistake in it. Pure; for cli/simulate.py."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import fields, replace

from gpu_mesh.delivery.outbox import Target
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node, Settings
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.inventory.mistakes import Mistake
from gpu_mesh.inventory.resolve import NODES, RawHost, RawVariable, resolve
from gpu_mesh.inventory.value_types import ShapeError
from gpu_mesh.inventory.variables import VARIABLES
from gpu_mesh.simulation.fake_gpu import Gpu
from gpu_mesh.simulation.fake_probe import Effect, Scenario
from gpu_mesh.simulation.trace import (
    EVERYBODY,
    Canaries,
    Expected,
    Facts,
    Link,
    Moment,
    Power,
    Process,
    Seconds,
    SilenceSpec,
    Trace,
)
from gpu_mesh.text.humanize import format_duration, parse_duration
from gpu_mesh.text.suggest import did_you_mean

LONGEST = 30 * 86400.0
"""Seconds that a story may last."""

AFTERWARDS = 600.0
"""Seconds that a story goes on after its last moment, unless the trace has ``until``."""

Lines = Mapping[tuple[str | int, ...], int]
"""The line of each part of a trace, such as ``("story", 2)`` or ``("nodes", "gpu1")``."""

_T = TypeVar("_T")


class TraceError(Exception):
    """The trace cannot be used; carries every mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(f"{len(self.mistakes)} mistakes")


def read(
    document: object, name: str, lines: Lines, inventory: Mesh | None, given: Mapping[str, str]
) -> Trace:
    """Return the trace.

    Args:
        document: the YAML, decoded.
        name: of the file, for messages.
        lines: the line of each part.
        inventory: the inventory's mesh. Its settings apply unless the trace or ``given`` has others; its
            nodes apply where the trace has none. None: no inventory is used.
        given: settings from the command line, by name without ``mesh_monitor_``.

    Raises:
        TraceError: it has mistakes; carries all of them.
    """
    reader = _Reader(name, lines)
    parts = reader.parts(document)
    if not parts:
        raise TraceError(reader.mistakes)
    about = reader.part(parts, "about", str, "")
    base = inventory.settings if inventory else Settings()
    settings = reader.settings(reader.part(parts, "settings", dict[str, Any], {}), base, given)
    mesh = reader.mesh(parts, inventory)
    tags = reader.part(parts, "urls", dict[str, tuple[str, ...]], {})
    monitors = reader.part(parts, "monitors", tuple[str, ...], ())
    expected = reader.part(parts, "expect", Expected, Expected())
    moments = reader.moments(parts, mesh, frozenset(tags))
    last = max((moment.at for moment in moments), default=0.0)
    until = reader.part(parts, "until", Seconds, Seconds(last + AFTERWARDS))
    reader.blame_monitors(moments, monitors)
    reader.blame_expected(expected, mesh)
    if until < last:
        reader.blame(("until",), f"must not be before the last moment, at {format_duration(last)}", "until")
    if until > LONGEST:
        reader.blame(("until",), f"must not be more than {format_duration(LONGEST)}", "until")
    if reader.mistakes:
        raise TraceError(reader.mistakes)
    targets = tuple(Target(key, frozenset(of)) for key, of in tags.items())
    return Trace(about, replace(mesh, settings=settings), targets, moments, float(until), expected, monitors)


class _Reader:
    """Reads the parts of a trace one by one, and collects every mistake."""

    def __init__(self, name: str, lines: Lines) -> None:
        self._name, self._lines = name, lines
        self.mistakes: list[Mistake] = []

    def blame(self, at: tuple[str | int, ...], message: str, what: str = "") -> None:
        """Add a mistake, with the line of that part or of the nearest part around it."""
        known = (at[:depth] for depth in range(len(at), -1, -1) if at[:depth] in self._lines)
        line = self._lines.get(next(known, ()), 1)
        self.mistakes.append(Mistake(message, variable=what, place=f"{self._name}:{line}"))

    def parts(self, document: object) -> dict[str, Any]:
        """Return the parts of the trace, by name."""
        if (
            not document
            or not isinstance(document, dict)
            or not all(isinstance(key, str) for key in document)
        ):
            self.blame((), "a trace is a mapping: about, nodes, story, until; see docs/simulate.md")
            return {}
        for key in document:
            if key not in _PARTS:
                self.blame((key,), f"there is no part {key!r}{_nearest(key, _PARTS)}")
        if not document.get("story"):
            self.blame((), "is missing: a list of moments, such as - {at: 5m, nodes: {gpu1: hang}}", "story")
        return document

    def part(self, parts: Mapping[str, Any], name: str, shape: type[_T], default: _T) -> _T:
        """Return one part; the default where it is missing or wrong."""
        if parts.get(name) is None:
            return default
        found = self._convert(parts[name], shape, (name,))
        return default if found is None else found

    def settings(self, own: Mapping[str, object], base: Settings, given: Mapping[str, str]) -> Settings:
        """Return the settings: from the command line, else from the trace, else the base."""
        values: dict[str, Any] = {}
        for key, value, place in (
            *((key, value, ("settings", key)) for key, value in own.items()),
            *((key, value, None) for key, value in given.items()),
        ):
            known = VARIABLES.get(f"mesh_monitor_{key}")
            if known is None:
                self._blame_setting(place, key, f"is no setting{_nearest(key, Settings.__struct_fields__)}")
                continue
            try:
                values[key] = known.shape.read(value)
            except ShapeError as problem:
                self._blame_setting(place, key, known.shape.wrong(value, problem))
        return replace(base, **values)

    def _blame_setting(self, place: tuple[str, str] | None, key: str, message: str) -> None:
        if place:
            self.blame(place, message, key)
        else:
            self.mistakes.append(Mistake(message, variable=key, place="--set"))

    def mesh(self, parts: Mapping[str, Any], inventory: Mesh | None) -> Mesh:
        """Return the nodes of the trace, else those of the inventory."""
        if parts.get("nodes") is None:
            if inventory is None:
                self.blame((), "is missing: the nodes, such as {gpu1: {}}; or name an inventory", "nodes")
            return inventory or Mesh(())
        described = self.part(parts, "nodes", dict[str, dict[str, Any] | None], {})
        hosts = [self._host(key, of or {}) for key, of in described.items()]
        found = resolve(hosts)
        if isinstance(found, Mesh):
            return found
        self.mistakes += found
        # Enough to find the wrong names in the rest of the trace too.
        return Mesh(tuple(Node(host.key, host.key, "", groups=host.groups) for host in hosts))

    def _host(self, key: str, of: Mapping[str, Any]) -> RawHost:
        """Return a node as an inventory would describe it, so that the inventory's checks apply to it."""
        place = ("nodes", key)
        line = self._lines.get(place, self._lines.get(("nodes",), 1))
        apart = self._convert({name: of[name] for name in _APART if name in of}, _Apart, place) or _Apart()
        values = {f"mesh_node_{name}": value for name, value in of.items() if name not in _APART}
        values |= {f"mesh_tunnel_{name}": value for name, value in apart.tunnel.items()}
        if apart.on_monitor:
            values["ansible_connection"] = "local"
        given = {name: RawVariable(value, f"{self._name}:{line}") for name, value in values.items()}
        return RawHost(key, (NODES, *apart.groups), given)

    def moments(self, parts: Mapping[str, Any], mesh: Mesh, urls: frozenset[str]) -> tuple[Moment, ...]:
        """Return the moments in order of time."""
        found = []
        for number, each in enumerate(self.part(parts, "story", list[Any], [])):
            place = ("story", number)
            moment = self._convert(each, Moment, place)
            if moment is None:
                continue
            keys = {name: _named(name, mesh) for name in moment.nodes}
            groups = [group for node in mesh.nodes for group in node.groups]
            names = [*(node.key for node in mesh.nodes), *groups]
            wrong = [name for name, known in keys.items() if not known]
            wrong += [name for name in (moment.silence.names if moment.silence else ()) if name not in names]
            wrong += [name for name in moment.ack if not mesh.node(name)]
            wrong += [moment.wake] if moment.wake and not mesh.node(moment.wake) else []
            wrong += [moment.force] if moment.force and not _named(moment.force, mesh) else []
            for name in wrong if mesh.nodes else ():
                self.blame(place, f"there is no node or group {name!r}{_nearest(name, names)}")
            for url in moment.urls.keys() - urls:
                self.blame(place, f"there is no url {url!r}{_nearest(url, urls)}")
            spread = {key: what for name, what in moment.nodes.items() for key in keys[name]}
            found.append(replace(moment, nodes=spread))
        return tuple(sorted(found, key=lambda moment: moment.at))

    def blame_monitors(self, moments: Iterable[Moment], monitors: tuple[str, ...]) -> None:
        """Add a mistake for each monitor that dies or lives and is none of the trace's."""
        for name in {each for moment in moments for each in (moment.dies, moment.lives) if each}:
            if name not in monitors:
                self.blame(("story",), f"there is no monitor {name!r}{_nearest(name, monitors)}", "story")

    def blame_expected(self, expected: Expected, mesh: Mesh) -> None:
        """Add a mistake for each expectation about a node that does not exist."""
        keys = [node.key for node in mesh.nodes]
        for name in {**expected.status, **expected.causes, **expected.repairs}:
            if keys and name not in keys:
                self.blame(("expect",), f"there is no node {name!r}{_nearest(name, keys)}", "expect")

    def _convert(self, value: object, shape: type[_T], place: tuple[str | int, ...]) -> _T | None:
        try:
            return msgspec.convert(value, shape, dec_hook=_decode)
        except msgspec.ValidationError as error:
            for each in dict.fromkeys((str(error), *_of_parts(value, shape))):
                message, _, where = each.partition(" - at `$")
                inside = where.rstrip("`").replace("[...]", "").strip(".")
                named = (str(place[0]), inside) if len(place) == 1 else (inside,)
                self.blame(place, _said(message), ".".join(filter(None, named)))
            return None


_PARTS = ("about", "nodes", "monitors", "settings", "urls", "story", "until", "expect")


class _Apart(Struct, frozen=True):
    """The parts of a node that a trace writes in another way than an inventory."""

    tunnel: dict[str, Any] = {}
    groups: tuple[str, ...] = ()
    on_monitor: bool = False


_APART = _Apart.__struct_fields__
_WORDS = [*Scenario, *Effect, *Gpu, *Finding, *Status, *Cause, *Level, *Link, *Canaries, *Power, *Process]
_FIELDS = [name for of in (Facts, Moment, SilenceSpec, Expected) for name in of.__struct_encode_fields__]


def _named(name: str, mesh: Mesh) -> tuple[str, ...]:
    """Return the keys of the nodes that a name means: a key, a group or EVERYBODY."""
    exact = tuple(node.key for node in mesh.nodes if node.key == name)
    return exact or tuple(node.key for node in mesh.nodes if name == EVERYBODY or name in node.groups)


def _of_parts(value: object, shape: type) -> Iterator[str]:
    """Yield msgspec's messages about each part alone, because for the whole it gives only the first."""
    if isinstance(value, dict) and issubclass(shape, Struct):
        missing = (each for each in fields(shape) if each.required and each.encode_name not in value)
        yield from (f"Object missing required field `{each.encode_name}`" for each in missing)
    for part in _parts(value):
        try:
            msgspec.convert(part, shape, dec_hook=_decode)
        except msgspec.ValidationError as error:
            if "missing required field" not in str(error):  # another part may have it
                yield str(error)


def _parts(value: object, depth: int = 4) -> Iterator[object]:
    """Yield a mapping's values one by one, each within the keys that lead to it."""
    if not depth or not isinstance(value, dict) or not value:
        yield value
        return
    for key, inner in value.items():
        yield from ({key: part} for part in _parts(inner, depth - 1))


def _decode(shape: type, value: object) -> Any:
    if shape is not Seconds:
        raise NotImplementedError
    return Seconds(0 if value == 0 else parse_duration(str(value)))


def _said(message: str) -> str:
    """Return msgspec's message with the nearest right word for a wrong one."""
    wrong = re.fullmatch(r"(Invalid enum value|Object contains unknown field) ['`](.*)['`]", message)
    if wrong is None:
        return message[0].lower() + message[1:]
    unknown = wrong[1].startswith("Object")
    # The word itself may be right in another place.
    hint = _nearest(wrong[2], (word for word in (_FIELDS if unknown else _WORDS) if word != wrong[2]))
    return (
        f"{'there is no field' if unknown else 'there is no'} {wrong[2]!r}{hint or '; see docs/simulate.md'}"
    )


def _nearest(name: object, known: Iterable[str]) -> str:
    hint = did_you_mean(str(name), known)
    return f"; {hint}" if hint else ""
