"""Writes which node to use, for programs: ``best.json``, which gpu_mesh/client.py reads. Pure.

It is a file of its own, since that is read before each request: of a thousand nodes ``status.json`` takes
milliseconds to decode.
"""

import msgspec
from msgspec import Struct

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import State
from gpu_mesh.routing import best
from gpu_mesh.routing.best import Choice, Wish

MOST = 5
"""Nodes that are named for a model: the best ones."""


class Route(Struct, frozen=True):
    """One node to use."""

    node: str  # key
    url: str
    loaded: float | None  # the share of the model in VRAM
    free_vram: int | None  # bytes


class Routes(Struct, frozen=True):
    """What ``best.json`` holds."""

    schema: int
    at: float  # Unix seconds
    stale_after: float  # Unix seconds: after this it no longer counts
    any: tuple[Route, ...]  # where any model will do, the best first
    models: dict[str, tuple[Route, ...]]  # by canonical name


def routes(mesh: Mesh, state: State, now: float, stale_after: float) -> bytes:
    """Return the file.

    Args:
        mesh: the nodes to choose from.
        state: their state.
        now: Unix seconds.
        stale_after: Unix seconds, as of the page.
    """
    names = sorted({canonical(model) for model in best.models(state, mesh)})
    return msgspec.json.encode(
        Routes(
            schema=1,
            at=now,
            stale_after=stale_after,
            any=_best(best.ranked(mesh, state, Wish(), now)),
            models={name: _best(best.ranked(mesh, state, Wish(name), now)) for name in names},
        )
    )


def _best(ranked: tuple[Choice, ...]) -> tuple[Route, ...]:
    fitting = [choice for choice in ranked if not choice.why_not]
    return tuple(Route(each.node, each.url, each.loaded, each.free_vram) for each in fitting[:MOST])
