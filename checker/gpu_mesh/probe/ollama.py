"""Probes one node for models, loaded models and version, with a deep check; for the check and recovery.

It returns facts: diagnosis/diagnose.py judges them. It never raises: whatever a node does is a fact about it.
"""

import re
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import TypeVar

import msgspec
from msgspec import Struct

from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.model_name import LONGEST, canonical
from gpu_mesh.domain.observation import Fault, LoadedModel, Observation, Reply, expiries, has_moved
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.faults import own_trouble
from gpu_mesh.probe.http_client import Answer, Session
from gpu_mesh.probe.sockets import Connect, Resolve, connect, system_resolve
from gpu_mesh.text.sanitize import one_line

MAX_MODELS = 10_000  # as many as the bound on an answer has room for; the state keeps all names
MAX_VERSION = 128  # characters
MAX_DETAIL = 200  # characters
MAX_DEPTH = 32  # Ollama's own answers nest four deep
MAX_BRACKETS = 100_000
# Shares of the remaining time. /api/ps waits while a model loads; /api/version must have time after it.
PS_SHARE = 0.6
# A model that does not answer must leave time to ask /api/ps again.
DEEP_SHARE = 0.75
STEP_SLACK = 0.5  # seconds: the error in the time measured between two requests of /api/ps

Choose = Callable[[tuple[LoadedModel, ...]], LoadedModel | None]
"""Chooses the loaded model for a deep check, or none: diagnosis/deep_check.py."""

_Shape = TypeVar("_Shape")


class _Tag(Struct):
    name: str | None = None
    model: str | None = None
    remote_host: str | None = None  # of a cloud model: a stub that runs elsewhere
    remote_model: str | None = None  # its name there
    capabilities: object = None  # a list of words; older versions of Ollama do not say

    @property
    def is_cloud(self) -> bool:
        """Whether it runs elsewhere."""
        return bool(self.remote_host or self.remote_model)


class _Tags(Struct):
    models: list[_Tag] | None

    @property
    def read(self) -> list[_Tag]:
        """As many of them as are read."""
        return (self.models or [])[:MAX_MODELS]


class _Running(Struct):
    name: str | None = None
    model: str | None = None
    size: int | float | None = None
    size_vram: int | float | None = None
    expires_at: str | None = None
    context_length: int | float | None = None


class _Ps(Struct):
    models: list[_Running] | None


class _Version(Struct):
    version: str


class _Generated(Struct):
    done: bool


for _shape in (_Tags, _Ps, _Version, _Generated):
    # msgspec prepares a type at its first use, and crashes the process if another thread uses the type
    # meanwhile (seen with 0.22). So the first use is here, in one thread.
    msgspec.json.Decoder(_shape)


def ask_none(_loaded: tuple[LoadedModel, ...]) -> None:
    """Choose no model for a deep check."""


def observe(
    node: Node,
    at: float,
    *,
    ask_version: bool,
    trust_env: bool,
    choose: Choose = ask_none,
    resolve: Resolve = system_resolve,
    connect: Connect = connect,
) -> Observation:
    """Probe a node, within its timeout.

    Args:
        node: the node as the inventory describes it.
        at: Unix seconds.
        ask_version: whether to ask for the version. It is also asked for if /api/ps does not answer in time:
            an answer then tells a loading model from a hanging process.
        trust_env: whether to use a proxy that the environment names.
        choose: chooses the loaded model for a deep check, or none.
        resolve: turns a name into addresses.
        connect: opens the connection.
    """
    try:
        with Session(
            node.url,
            node.timeout,
            headers=node.headers,
            ca_file=node.ca_file,
            trust_env=trust_env,
            resolve=resolve,
            connect=connect,
        ) as session:
            return _observe(session, node, at, ask_version=ask_version, choose=choose)
    except GetError as error:
        return Observation(node.key, at, Reply(error.fault, detail=plain(error.detail, MAX_DETAIL)))
    except Exception as error:  # noqa: BLE001 - one node must never end the check of all
        return Observation(node.key, at, broken(error))


def broken(error: Exception) -> Reply:
    """Return the reply for a probe that raised an error: it says where, and whose trouble that is."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    of_monitor = isinstance(error, OSError) or own_trouble(error)
    fault = Fault.MONITOR if of_monitor else Fault.BROKEN
    return Reply(fault, detail=f"the probe broke: {type(error).__name__} in {place}")


def _observe(session: Session, node: Node, at: float, *, ask_version: bool, choose: Choose) -> Observation:
    try:
        return _asked(session, node, at, ask_version=ask_version, choose=choose)
    except Exception as error:
        if not session.heard or isinstance(error, GetError) or own_trouble(error):
            raise
        # What the node sent is at fault, not the inventory.
        raise GetError(Fault.UNREADABLE, f"it cannot be read: {type(error).__name__}") from None


def _asked(session: Session, node: Node, at: float, *, ask_version: bool, choose: Choose) -> Observation:
    """Ask for the models, the loaded ones, and what else is due."""
    reply, tags, _ = _ask(session, "/api/tags", _Tags)
    if tags is None:
        return Observation(node.key, at, reply)
    ps_reply, ps, date = _ask(session, "/api/ps", _Ps, share=PS_SHARE)
    version = None
    if (ask_version or ps_reply.fault is Fault.READ_TIMEOUT) and session.left > 0:
        _, answer, _ = _ask(session, "/api/version", _Version)
        version = plain(answer.version, MAX_VERSION) if answer else None
    loaded = _loaded(ps) if ps else ()
    asked = choose(_generating(loaded, tags))
    deep, excused, loads = (
        _ask_deep(session, asked, loaded) if asked and session.left > 0 else (None, False, False)
    )
    return Observation(
        node.key,
        at,
        reply,
        models=_names(tags, cloud=False),
        cloud_models=_names(tags, cloud=True),
        models_cut=len(tags.models or ()) > MAX_MODELS,
        ps=ps_reply,
        loaded=loaded,
        node_clock=_http_date(date),
        version=version,
        deep=deep,
        deep_model=asked.name if asked else "",
        deep_excused=excused,
        deep_loads=loads,
    )


def _ask_deep(
    session: Session, model: LoadedModel, loaded: tuple[LoadedModel, ...]
) -> tuple[Reply, bool, bool]:
    """Make a deep check of a loaded model; return its reply, whether a missing one is excused, and why.

    It is excused if /api/ps then shows that the node is at work: a request has finished, other models are
    loaded, or one is just being loaded, and /api/ps waits for it. The last value says that the model is gone
    from the list: it is loaded anew.
    """
    body = msgspec.json.encode(
        {"model": model.name, "stream": False, "options": {"num_ctx": model.context_length}}
    )
    began = monotonic()
    deep, _, _ = _ask(session, "/api/generate", _Generated, body=body, share=DEEP_SHARE)
    if deep.fault is None or session.left <= 0:
        return deep, False, False
    again, ps, _ = _ask(session, "/api/ps", _Ps)
    now = _loaded(ps) if ps else ()
    same = expiries(now).keys() == expiries(loaded).keys()
    served = has_moved(expiries(loaded), now, monotonic() - began, STEP_SLACK)
    loads = again.fault is None and all(each.name != model.name for each in now)  # a hung runner stays listed
    return deep, again.fault is not None or not same or served, loads


def _ask(
    session: Session, path: str, shape: type[_Shape], *, body: bytes | None = None, share: float = 1.0
) -> tuple[Reply, _Shape | None, str]:
    """GET a path, or POST the body to it; return the reply, the decoded answer, and its Date header."""
    began = monotonic()
    try:
        answer = session.get(path, share=share) if body is None else session.post(path, body, share=share)
    except GetError as error:
        return Reply(error.fault, 0, plain(error.detail, MAX_DETAIL), _since(began)), None, ""
    took = _since(began)
    fault, detail = _status_fault(answer)
    decoded: _Shape | None = None
    if fault is None:
        try:
            decoded = decode(answer.body, shape)
        except ValueError as error:
            fault, detail = Fault.NOT_JSON, str(error)
    return Reply(fault, answer.status, plain(detail, MAX_DETAIL), took), decoded, answer.date


def _since(began: float) -> float:
    return round((monotonic() - began) * 1000, 3)


def _status_fault(answer: Answer) -> tuple[Fault | None, str]:
    if 200 <= answer.status < 300:
        return None, ""
    words = f"HTTP {answer.status} {_PHRASES.get(answer.status, '')}".strip()
    if answer.status >= 400:
        return Fault.STATUS, words
    if answer.status >= 300:
        where = re.match(_SERVER, answer.location)
        return Fault.REDIRECT, f"{words} to {where[0]}" if where else words
    return Fault.NOT_JSON, words


# A person needs only scheme and host of a Location. The node may put any text into the rest.
_SERVER = r"https?://[A-Za-z0-9.-]{1,100}(:\d{1,5})?(?=[/?#]|$)"
_PHRASES: Mapping[int, str] = {status.value: status.phrase for status in HTTPStatus}


def decode(body: bytes, shape: type[_Shape]) -> _Shape:
    """Decode a node's JSON. Raises ValueError, with a few words for people, if its shape is wrong."""
    brackets = body.translate(None, _NOT_BRACKETS)
    if (
        len(brackets) > MAX_BRACKETS
        or max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH
    ):
        raise ValueError("the JSON is nested deeper than any of Ollama's")
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"not Ollama's JSON: {error}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        start = body[:64].lstrip()
        kind = "nothing" if not start else "HTML" if start.startswith(b"<") else "broken JSON"
        raise ValueError(f"{kind} instead of JSON" if kind != "broken JSON" else kind) from None


_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def plain(text: str, limit: int) -> str:
    """Return the text as one visible line of at most ``limit`` characters; most texts are that already."""
    return text if len(text) <= limit and text.isprintable() else one_line(text, limit)


def _names(tags: _Tags, *, cloud: bool) -> tuple[str, ...]:
    """Return the names of the cloud models, or of those that the node itself runs."""
    listed = (tag for tag in tags.read if tag.is_cloud is cloud)
    return tuple(filter(None, (plain(tag.name or tag.model or "", LONGEST) for tag in listed)))


def _generating(loaded: tuple[LoadedModel, ...], tags: _Tags) -> tuple[LoadedModel, ...]:
    """Return the loaded models without cloud models, and without those that only make embeddings."""
    if not loaded:
        return loaded
    others = {
        canonical(tag.name or tag.model or "")
        for tag in tags.read
        if tag.is_cloud or (isinstance(tag.capabilities, list) and "completion" not in tag.capabilities)
    }
    return tuple(model for model in loaded if canonical(model.name) not in others)


def _loaded(ps: _Ps) -> tuple[LoadedModel, ...]:
    return tuple(
        LoadedModel(
            name=plain(entry.name or entry.model or "", LONGEST) or "?",  # nothing of it can be seen
            size=_count(entry.size),
            size_vram=_count(entry.size_vram),
            expires_at=unix_seconds(entry.expires_at or ""),
            context_length=_count(entry.context_length),
        )
        for entry in (ps.models or ())[:MAX_MODELS]
        if entry.name or entry.model
    )


def _count(number: float | None) -> int:
    return int(min(max(number or 0, 0), 2**62))


def unix_seconds(text: str) -> float:
    """Return the Unix seconds of an RFC 3339 time; 0.0 for no time, Go's zero time, or an unreadable one."""
    try:
        moment = datetime.fromisoformat(text[:64])
        return max((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _http_date(text: str) -> float:
    try:
        return max(parsedate_to_datetime(text[:64]).replace(tzinfo=UTC).timestamp(), 0.0)  # always GMT
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
