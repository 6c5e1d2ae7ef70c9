"""The shape of state.json (schema 1): a node is one flat object, its three parts beside its own fields.

In memory the parts are structs of their own, and so is each loaded model. A nested shape on disk would not be
worth a migration.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import FieldInfo, fields

from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import NodeAlerting, NodeRecovery, NodeState, NodeStatistics, State

_PARTS: dict[str, type[Struct]] = {
    "statistics": NodeStatistics,
    "alerting": NodeAlerting,
    "recovery": NodeRecovery,
}


def _defined(known: Iterable[FieldInfo]) -> list[tuple[str, Any, Any]]:
    """Return fields as defstruct takes them, with their names on disk."""
    return [
        (each.name, each.type, field(default=each.default, name=each.encode_name))
        if each.default_factory is msgspec.NODEFAULT
        else (each.name, each.type, field(default_factory=each.default_factory, name=each.encode_name))
        for each in known
    ]


_OWN = [each for each in fields(NodeState) if each.name not in (*_PARTS, "loaded")]
_OF_PART = {part: [each.name for each in fields(kind)] for part, kind in _PARTS.items()}

# The loaded models are names, and beside them for each of these: size, size in VRAM, expiry, context length.
# An older version reads the names, and leaves out the numbers when it writes. It writes the expiries by name.
_Numbers = tuple[int, int, float, int]
_LOADED: list[tuple[str, Any, Any]] = [
    ("loaded", tuple[str, ...], ()),
    ("loaded_numbers", tuple[_Numbers, ...], ()),
    ("expiries", dict[str, float], field(default_factory=dict)),
]
StoredNode = msgspec.defstruct(
    "StoredNode",
    [*_defined([*_OWN, *(each for kind in _PARTS.values() for each in fields(kind))]), *_LOADED],
    frozen=True,
    omit_defaults=True,
)
StoredState = msgspec.defstruct(
    "StoredState",
    [
        (name, dict[str, StoredNode] if name == "nodes" else kind, default)  # type: ignore[valid-type]
        for name, kind, default in _defined(fields(State))
    ],
)
_OWN_NAMES = [each.name for each in _OWN]
_STATE_NAMES = [each.name for each in fields(State) if each.name != "nodes"]


def to_disk(state: State) -> Struct:
    """Return the state as it is encoded."""
    return StoredState(
        nodes={key: _flat(node) for key, node in state.nodes.items()},
        **{name: getattr(state, name) for name in _STATE_NAMES},
    )


def from_disk(stored: Any) -> State:  # the struct is made at run time: its fields have no static types
    """Return the state that was decoded as a StoredState.

    Raises:
        ValueError: it has the right types, but no version of the program has written it.
    """
    _check(stored)
    return State(
        nodes={key: _node(node) for key, node in stored.nodes.items()},
        **{name: getattr(stored, name) for name in _STATE_NAMES},
    )


_EARLIEST, _LATEST = -62_135_510_400.0, 253_402_214_400.0
"""Seconds: a day within the years 1 and 9999, so that every time can be shown in every zone."""

_MOST = 2**62
"""Of what is counted: one more can still be written."""

_NODES_OWN = {"loaded_numbers", "expiries", "deep_checked"}
"""What nodes said by their own clocks: it is shown nowhere as a time (probe/ollama.py bounds it)."""


_HOURLY = {"hourly_checks", "hourly_successes"}


def _check(value: Any) -> None:
    """Raise ValueError where a value has the right type, but no version of the program can have written it.

    A check that breaks at such a value would break again at every tick.
    """
    if isinstance(value, float):
        if not _EARLIEST <= value <= _LATEST:
            raise ValueError(f"{value:g} is no time")
    elif isinstance(value, int):
        if abs(value) > _MOST:
            raise ValueError(f"{value} is no number of anything")
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            if name in _HOURLY:
                _check_hours(getattr(value, name))
            elif name not in _NODES_OWN:
                _check(getattr(value, name))
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            _check(each)


def _check_hours(counted: tuple[int, ...]) -> None:
    if len(counted) not in (0, 24) or max(map(abs, counted), default=0) > _MOST:
        raise ValueError("the hourly counters are not 24")


def _flat(node: NodeState) -> Struct:
    values = {name: getattr(node, name) for name in _OWN_NAMES}
    for part, names in _OF_PART.items():
        of = getattr(node, part)
        values.update((name, getattr(of, name)) for name in names)
    return StoredNode(
        **values,
        loaded=tuple(model.name for model in node.loaded),
        loaded_numbers=tuple(
            (model.size, model.size_vram, model.expires_at, model.context_length) for model in node.loaded
        ),
    )


def _node(stored: Any) -> NodeState:  # as above
    parts: dict[str, Any] = {
        part: kind(*(getattr(stored, name) for name in _OF_PART[part])) for part, kind in _PARTS.items()
    }
    return NodeState(**{name: getattr(stored, name) for name in _OWN_NAMES}, loaded=_loaded(stored), **parts)


def _loaded(stored: Any) -> tuple[LoadedModel, ...]:  # as above
    if len(stored.loaded_numbers) == len(stored.loaded):
        pairs = zip(stored.loaded, stored.loaded_numbers, strict=True)
        return tuple(LoadedModel(name, *numbers) for name, numbers in pairs)
    return tuple(LoadedModel(name, expires_at=stored.expiries.get(name, 0.0)) for name in stored.loaded)
