"""Decides whether a check of a node includes a deep check, and of which loaded model. Pure.

A deep check is ``POST /api/generate`` with an empty prompt: it pings the model's runner and makes no token.
It must ask for the context length that the model is loaded with; otherwise Ollama loads the model again.
It also restarts the model's unload timer. So it is rare, and it is skipped if a request has just finished,
which proves as much. A model that nobody uses is asked no longer than it would be loaded without deep checks,
or it would stay loaded for ever; one that is there past its time is in use, or stuck, and is asked. A model
whose first deep check took seconds was loaded anew for it, because a client had loaded it with options that
``/api/ps`` does not show; it is not asked again either.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.model_name import canonical
from gpu_mesh.domain.observation import MOVED, LoadedModel, Observation, has_moved
from gpu_mesh.domain.state import DeepChecked, NodeState

RELOADED_MS = 2000.0
"""A first deep check that took so many milliseconds has loaded the model anew; an empty prompt takes few."""

RELOADS_REMEMBERED = 86400.0
"""Seconds for which a model that was loaded anew is not asked again."""

REMEMBERED = 100
"""For how many models of a node it is remembered whether they may be asked: those that were asked last."""


def choose(
    before: NodeState, loaded: Sequence[LoadedModel], at: float, interval: float
) -> LoadedModel | None:
    """Return the model to ask; None: no deep check now.

    1. Only a loaded model whose context length is known can be asked, and none that was loaded anew for it.
    2. After a deep check that was not answered, or met a full queue, every check includes one until it is.
    3. Otherwise there is none if a request has finished since the last check, or before the interval is over,
       and none of a model that would be unloaded by now but for deep checks.

    Args:
        before: the node's state.
        loaded: its loaded models, as it has just listed them.
        at: Unix seconds of this check.
        interval: seconds between two deep checks; 0: never.
    """
    askable = [
        model
        for model in loaded
        if model.context_length and model.size and not _reloads(before, model.name, at)
    ]
    if before.probed_cause not in (Cause.RUNNER_HUNG, Cause.BUSY):
        if has_served(before, loaded, at) or at - before.deep_at < interval:
            return None
        askable = [model for model in askable if not _is_kept(before, model, at)]
    if not interval or not askable:
        return None
    return askable[int(at // interval) % len(askable)]


def has_served(before: NodeState, loaded: Sequence[LoadedModel], at: float) -> bool:
    """Return whether somebody's request has finished since the check before; a deep check is none.

    Args:
        before: the node's state after the check before.
        loaded: its loaded models, as they are listed now.
        at: Unix seconds of this check.
    """
    by_others = {
        name: end
        for name, end in before.expiries.items()
        if name not in before.deep_checked or before.deep_checked[name].left
    }
    return has_moved(by_others, loaded, at - before.last_check)


def _is_kept(before: NodeState, model: LoadedModel, at: float) -> bool:
    """Return whether the model is loaded only because a deep check has put off its end."""
    last = before.deep_checked.get(model.name)
    if last is None or not _is_unused(last, model):
        return False
    return last.until <= at + last.ahead < model.expires_at + MOVED


def _is_unused(last: DeepChecked, model: LoadedModel) -> bool:
    return not last.left or abs(model.expires_at - last.left) <= MOVED


def checked(before: NodeState, seen: Observation) -> dict[str, DeepChecked]:
    """Return what deep checks left, of the loaded models that nobody has used since.

    Args:
        before: the node's state after the check before.
        seen: what this check saw; /api/ps answered.
    """
    ahead = seen.node_clock - seen.at if seen.node_clock else 0.0
    found = {}
    for model in seen.loaded:
        last = before.deep_checked.get(model.name)
        unused = last if last and _is_unused(last, model) else None
        if model.name == seen.deep_model and seen.deep is not None and seen.deep.fault is None:
            found[model.name] = DeepChecked(unused.until if unused else model.expires_at, 0.0, ahead)
        elif unused:
            found[model.name] = replace(unused, left=unused.left or model.expires_at, ahead=ahead)
    return found


def _reloads(before: NodeState, name: str, at: float) -> bool:
    last = before.deep_reloads.get(canonical(name), 0.0)
    return bool(last) and at - last < RELOADS_REMEMBERED


def reloads(before: NodeState, seen: Observation) -> dict[str, float]:
    """Return by canonical name of each model asked when its deep check loaded it anew; 0.0: it did not.

    The first one decides, for a day: a slow network may look the same, and another version of Ollama may take
    another look at the options.

    Args:
        before: the node's state after the check before.
        seen: what this check saw.
    """
    changed = seen.version and seen.version != before.version
    known = {} if changed else dict(before.deep_reloads)
    name = canonical(seen.deep_model)
    answered = seen.deep is not None and seen.deep.fault is None
    if (answered or seen.deep_loads) and (known.get(name) or name not in known):
        slow = seen.deep_loads or (seen.deep is not None and seen.deep.ms >= RELOADED_MS)
        known[name] = seen.at if slow else 0.0
    return dict(list(known.items())[-REMEMBERED:])
