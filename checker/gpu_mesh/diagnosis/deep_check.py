"""Decides whether a loaded model is asked for a sign of life in this check, and which one. Pure.

``POST /api/generate`` with an empty prompt pings the model's runner and makes no token. It must ask for the
context length that the model is loaded with, or Ollama loads it anew, and it re-arms the model's unload
timer: so it is rare, and left out where a request has just finished, which is proof enough.
"""

from collections.abc import Sequence

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.observation import LoadedModel
from gpu_mesh.domain.state import NodeState

_MOVED = 1.0
"""Seconds by which a model's end must be later than before: clocks and roundings move it by less."""

_SLACK = 2.0
"""Seconds by which two probes may lie further apart, or closer together, than the checks they belong to."""


def choose(
    before: NodeState, loaded: Sequence[LoadedModel], at: float, interval: float
) -> LoadedModel | None:
    """Return the model to ask; None when none is to be asked.

    1. Only a model that is loaded and says its context length.
    2. One that did not answer, or whose queue was full, is asked at every check, until it answers.
    3. None where a request has finished since the last check, nor before the interval is over.

    Args:
        before: what is remembered of the node.
        loaded: its loaded models, as it has just listed them.
        at: Unix seconds of this check.
        interval: seconds between two deep checks; 0: there are none.
    """
    askable = [model for model in loaded if model.context_length and model.size]
    if not interval or not askable:
        return None
    waits = (before.refined_from or before.cause) in (Cause.RUNNER_HUNG, Cause.BUSY)
    served = has_moved(before.expiries, loaded, at - before.last_check)
    if not waits and (served or 0 <= at - before.deep_at < interval):
        return None
    return askable[int(at // interval) % len(askable)]


def has_moved(
    expiries: dict[str, float], loaded: Sequence[LoadedModel], elapsed: float, slack: float = _SLACK
) -> bool:
    """Tell whether a request has finished: the end of a model that was loaded before has been put off.

    An end that keeps in step with the clock proves nothing: as long as the first request after loading has
    not finished, there is none yet, and Ollama says one that is always as far away.

    Args:
        expiries: when each loaded model was to go, as the listing before said.
        loaded: the models as they are listed now.
        elapsed: seconds between the two listings.
        slack: seconds by which that may be wrong.
    """
    moves = [model.expires_at - expiries[model.name] for model in loaded if model.name in expiries]
    return any(move > _MOVED and abs(move - elapsed) > slack for move in moves)


def expiries(loaded: Sequence[LoadedModel]) -> dict[str, float]:
    """Return when each loaded model goes, Unix seconds by the node's clock."""
    return {model.name: model.expires_at for model in loaded}
