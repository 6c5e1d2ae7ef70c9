"""Decides whether a loaded model is asked for a sign of life in this check, and which one. Pure.

``POST /api/generate`` with an empty prompt pings the model's runner and makes no token. It must ask for the
context length that the model is loaded with, or Ollama loads it anew, and it re-arms the model's unload
timer: so it is rare, and left out where a request has just finished, which is proof enough.
"""

from collections.abc import Sequence

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.observation import LoadedModel, has_moved
from gpu_mesh.domain.state import NodeState


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
    waits = (before.probed_cause) in (Cause.RUNNER_HUNG, Cause.BUSY)
    served = has_moved(before.expiries, loaded, at - before.last_check)
    if not waits and (served or at - before.deep_at < interval):
        return None
    return askable[int(at // interval) % len(askable)]
