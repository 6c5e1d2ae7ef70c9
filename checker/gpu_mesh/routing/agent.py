"""Decides what HAProxy is told of each node: how much of the requests it gets, or none. Pure.

HAProxy asks for one file of a node, and for another one for each model that it has a backend for
(``mesh_monitor_haproxy_models``). Whether a node is down is HAProxy's own check's to say: no file says
``down``, since that would last when nobody writes files any more.
"""

from msgspec import Struct

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.state import NodeState, State
from gpu_mesh.routing.best import Choice, Wish, ranked
from gpu_mesh.text.file_names import safe_name

DRAIN = "drain"
FULL = "up ready 100%"

_LONGEST = 100  # characters of a node's part in a file's name; a model has at most as many


class Words(Struct, frozen=True):
    """What HAProxy is told of a node."""

    now: str
    later: str  # once nobody watches the mesh any more


def file_name(key: str, model: str = "") -> str:
    """Return the name of a node's file, which HAProxy sends to the agent.

    Args:
        key: the node's.
        model: the canonical name of the backend's model; "": the backend takes any.
    """
    return safe_name(key, _LONGEST) + (f"@{model.replace('/', '=')}" if model else "")


def texts(mesh: Mesh, state: State, now: float) -> dict[str, str]:
    """Return the content of each file by its name: one line for now, one for later.

    Args:
        mesh: the nodes, and the models that have a backend.
        state: their state.
        now: Unix seconds.
    """
    found = {}
    for model in ("", *mesh.settings.haproxy_models):
        choices = {choice.node: choice for choice in ranked(mesh, state, Wish(model), now)}
        for node in mesh.nodes:
            said = words(choices[node.key], state.node(node.key), model)
            found[file_name(node.key, model)] = f"{said.now}\n{said.later}\n"
    return found


def words(choice: Choice, known: NodeState, model: str = "") -> Words:
    """Return what HAProxy is told of a node.

    A node that ``best`` would never choose gets no new requests; any other one gets them by its score. When
    nobody watches, every node gets them, but for one that does not have the model: it could not serve it.

    Args:
        choice: what ``best`` thinks of it, for that model.
        known: its state.
        model: a canonical name; "": any.
    """
    lacks = bool(model) and model not in map(canonical, known.models)
    return Words(
        now=DRAIN if choice.why_not else f"up ready {_weight(choice)}%",
        later=DRAIN if lacks else FULL,
    )


def _weight(choice: Choice) -> int:
    """Return the score as a weight from 1 to 100: 0 would be a drain."""
    return 100 if choice.score is None else min(100, max(1, round(choice.score)))
