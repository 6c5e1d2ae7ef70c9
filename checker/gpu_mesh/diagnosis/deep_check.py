"""Decides whether a check of a node includes a deep check, and of which loaded model. Pure.

A deep check is ``POST /api/generate`` with an empty prompt: it pings the model's runner and makes no token.
It must ask for the context length that the model is loaded with; otherwise Ollama loads the model again.
It also restarts the model's unload timer. So it is rare, and it is skipped if a request has just finished:
that proves as much.
"""

from collections.abc import Sequence

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.observation import LoadedModel, has_moved
from gpu_mesh.domain.state import NodeState


def choose(
    before: NodeState, loaded: Sequence[LoadedModel], at: float, interval: float
) -> LoadedModel | None:
    """Return the model to ask; None: no deep check now.

    1. Only a loaded model whose context length is known can be asked.
    2. After a deep check that was not answered, or met a full queue, every check includes one until it is.
    3. Otherwise there is none if a request has finished since the last check, or before the interval is over.

    Args:
        before: the node's state.
        loaded: its loaded models, as it has just listed them.
        at: Unix seconds of this check.
        interval: seconds between two deep checks; 0: never.
    """
    askable = [model for model in loaded if model.context_length and model.size]
    if not interval or not askable:
        return None
    unanswered = before.probed_cause in (Cause.RUNNER_HUNG, Cause.BUSY)
    served = has_moved(before.expiries, loaded, at - before.last_check)
    if not unanswered and (served or at - before.deep_at < interval):
        return None
    return askable[int(at // interval) % len(askable)]
