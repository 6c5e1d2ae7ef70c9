"""Decides which node a request should go to. Pure.

Without a model the order is: healthy, highest score, lowest usual response time, key. For a model, nodes come
first that have it loaded on the GPU, then those with the most free memory there: loading a model takes longer
than any difference in score is worth.
"""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from gpu_mesh.diagnosis import gpu
from gpu_mesh.diagnosis.uptime import score, status_of
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh, Node
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.planning import drains
from gpu_mesh.silences import silences

_ALL = 0.995
"""The share of a model in VRAM that counts as all: sizes are rounded."""


class Prefer(StrEnum):
    """What comes first among the nodes that are healthy (``--prefer``)."""

    LOADED = "loaded"  # the model is in memory, on the GPU if possible
    SCORE = "score"
    VRAM = "vram"  # the most free memory


class Wish(Struct, frozen=True):
    """What is asked for."""

    model: str = ""  # spelt as Ollama accepts it; "": any
    prefer: Prefer | None = None  # None: loaded for a model, else score
    healthy_only: bool = False  # a node that serves although something is wrong with it is never chosen


class Choice(Struct, frozen=True):
    """One node, with what the choice depends on."""

    node: str  # key
    url: str
    why_not: str  # why it is not chosen, in words; "": it fits
    status: Status
    score: float | None  # 0 to 100
    usual_ms: float | None
    loaded: float | None  # the share of the model in VRAM, 0 to 1; None: not in memory, or no model was named
    free_vram: int | None  # bytes; None: not known


def best(mesh: Mesh, state: State, wish: Wish, now: float) -> Node | None:
    """Choose the node for a request; None: no node fits. See ``ranked``."""
    first = next(iter(ranked(mesh, state, wish, now)), None)
    return mesh.node(first.node) if first and not first.why_not else None


def ranked(mesh: Mesh, state: State, wish: Wish, now: float) -> tuple[Choice, ...]:
    """Return the nodes that fit, the best first, then the others, each with why it does not fit.

    Args:
        mesh: the nodes to choose from.
        state: their state.
        wish: what is asked for.
        now: Unix seconds.
    """
    choices = [_choice(node, state, wish, now) for node in mesh.nodes]
    prefer = wish.prefer or (Prefer.LOADED if wish.model else Prefer.SCORE)
    return tuple(sorted(choices, key=lambda choice: _rank(choice, prefer)))


def models(state: State, mesh: Mesh) -> tuple[str, ...]:
    """Return the models that any enabled node has, each once, in the order of their names."""
    keys = [node.key for node in mesh.nodes if node.enabled]
    return tuple(sorted({model for key in keys for model in state.node(key).models}))


def nearest(model: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the models that were probably meant: the same one with another tag."""
    name = canonical(model).rpartition(":")[0]
    return tuple(each for each in known if canonical(each).rpartition(":")[0] == name)


def _choice(node: Node, state: State, wish: Wish, now: float) -> Choice:
    known = state.node(node.key)
    return Choice(
        node=node.key,
        url=node.url,
        why_not=_why_not(node, known, state, wish, now),
        status=status_of(node, state),
        score=score(known),
        usual_ms=known.statistics.usual_ms or None,
        loaded=_loaded(known, wish.model) if wish.model else None,
        free_vram=_free(node, known, now),
    )


def _why_not(node: Node, known: NodeState, state: State, wish: Wish, now: float) -> str:
    if not node.enabled:
        return "it is disabled"
    if known.asleep_since:
        return f"it is asleep; to wake it: gpu-mesh wake {node.key}"
    if not known.serves:
        return f"it is {known.status}" + (f": {known.detail}" if known.detail else "")
    if wish.healthy_only and known.status is not Status.HEALTHY:
        return f"it is not healthy: {known.detail}"
    if drains.is_draining(known, now):
        return f"it drains: {drains.describe(known, now)}"
    if left_alone := silences.against_recovery(state.silences, node, now):
        return left_alone
    if wish.model and canonical(wish.model) not in map(canonical, known.models):
        return f"it does not have {wish.model}"
    return "" if known.models else "it has no model"


def _loaded(known: NodeState, model: str) -> float | None:
    for each in known.loaded:
        if canonical(each.name) == canonical(model):
            return min(1.0, each.size_vram / each.size) if each.size else 0.0
    return None


def _free(node: Node, known: NodeState, now: float) -> int | None:
    """Return the free memory of its cards, as a fresh look saw it."""
    if known.gpu is None or not gpu.is_fresh(node, known.gpu, now):
        return None
    cards = [card for card in known.gpu.facts.present if card.total is not None and card.used is not None]
    return sum(max((card.total or 0) - (card.used or 0), 0) for card in cards) if cards else None


def _rank(choice: Choice, prefer: Prefer) -> tuple[float | str | bool, ...]:
    in_memory = 2 if choice.loaded is None else 1 if choice.loaded < _ALL else 0
    free = -1 if choice.free_vram is None else choice.free_vram
    reliable = (-(choice.score or 0.0), choice.usual_ms or 0.0, choice.node)
    first = {
        Prefer.LOADED: (in_memory, -free),
        Prefer.SCORE: (),
        Prefer.VRAM: (-free, in_memory),
    }[prefer]
    return (bool(choice.why_not), choice.status is not Status.HEALTHY, *first, *reliable)
