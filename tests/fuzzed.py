"""What is fuzzed: the answers of a node, and a state file. Bytes go in; an exception is a broken promise.

tests/programs/fuzz.py lets coverage lead, and starts with the files of tests/corpus. What answers are made
up at random is in tests/integration/check/test_fuzz.py.
"""

import copy
import io
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

from factories import NOW, answers, behind, fails, plain
from gpu_mesh.diagnosis.evaluate import apply_observation
from gpu_mesh.domain.mesh import Mesh, Settings
from gpu_mesh.domain.model_name import LONGEST
from gpu_mesh.domain.observation import Fault, LoadedModel, Reply
from gpu_mesh.domain.state import State
from gpu_mesh.monitor import tick
from gpu_mesh.planning import plan
from gpu_mesh.probe.ollama import MAX_DETAIL, MAX_MODELS, MAX_VERSION, observe
from gpu_mesh.probe.sockets import Allowance
from gpu_mesh.recovery import lifecycle
from gpu_mesh.reporting.report import report
from gpu_mesh.storage.rebase import rebase
from gpu_mesh.storage.state_file import decode, encode

BETWEEN = b"\n=====\n"
"""Parts the answers to the requests of one probe."""

_SILENT, _OTHER_END = socket.socketpair()


class Raw(io.RawIOBase):
    """The bytes of an answer, counted by an allowance as those of a socket are."""

    def __init__(self, whole: bytes, allowance: Allowance) -> None:
        self._left, self._allowance = memoryview(whole), allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return self._allowance.took(count)


class Fed:
    """A connection that takes every request, and gives one answer after the other."""

    def __init__(self, wholes: Iterator[bytes], allowance: Allowance) -> None:
        self._wholes, self._allowance = wholes, allowance

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(Raw(next(self._wholes, b""), self._allowance), 8192)

    def fileno(self) -> int:
        return _SILENT.fileno()  # it is asked whether more has come than was asked for

    def settimeout(self, _seconds: object) -> None:
        """Do nothing, as the next two: nobody is at the other end."""

    def sendall(self, _request: bytes) -> None:
        pass

    def close(self) -> None:
        pass


def is_visible(text: str) -> bool:
    return text.replace("\u200d", "").isprintable()  # it joins the parts of an emoji


def fuzz_answers(data: bytes) -> None:
    """Probe a node that answers with these bytes: what is said of it is its own, bounded, and can be kept."""
    wholes, node = iter(data.split(BETWEEN)), plain("a", timeout=60.0)
    seen = observe(
        node,
        NOW,
        ask_version=True,
        trust_env=False,
        choose=lambda loaded: loaded[0] if loaded else None,
        connect=lambda _host, _port, allowance, _resolve: Fed(wholes, allowance),  # type: ignore[arg-type,return-value]
    )
    for reply in (seen.tags, seen.ps, seen.deep):
        _check_reply(reply)
    names = (*seen.models, *seen.cloud_models, *(model.name for model in seen.loaded), seen.deep_model)
    assert max(len(seen.models), len(seen.cloud_models), len(seen.loaded)) <= MAX_MODELS
    assert all(len(name) <= LONGEST and is_visible(name) for name in names)
    assert seen.version is None or (len(seen.version) <= MAX_VERSION and is_visible(seen.version))
    state = State()
    for _ in range(2):
        apply_observation(state, node, seen)
    assert decode(encode(state)) == state


def _check_reply(reply: Reply | None) -> None:
    if reply:
        assert reply.fault not in (Fault.MONITOR, Fault.BROKEN, Fault.UNUSABLE), reply
        assert len(reply.detail) <= MAX_DETAIL, reply
        assert is_visible(reply.detail), reply


def fuzz_state(data: bytes) -> None:
    """Load a state file: it is refused, or can be saved, read again, checked with, shown and planned with."""
    try:
        state = decode(data)
    except ValueError:  # StateFile sets it aside
        return
    assert decode(encode(state)) == state
    rebase(state, NOW)
    keys = [*state.nodes][:8]
    nodes = [
        behind(key, 8080 + number) if number % 2 else plain(key, parent=keys[0])
        for number, key in enumerate(keys)
    ]
    mesh = Mesh((*nodes, plain("new")), Settings(canary=("192.0.2.1:53",)))
    loaded = LoadedModel("m", 100, 50, NOW + 300, 4096)
    for later in (0.0, 30.0):
        seen = {
            node.key: fails(node.key, NOW + later) if number % 3 else answers(node.key, NOW + later, loaded)
            for number, node in enumerate(mesh.nodes)
        }
        tick.apply(state, mesh, tick.MeshObservation(seen), NOW + later, NOW + later)
    lifecycle.expire_claims(state, mesh, NOW + 30)
    plan.plan(mesh, state, NOW + 30)
    report(mesh, state, NOW + 30)
    assert decode(encode(state)) == state


_ODD = (
    None, True, "", "x", "\u202e\ud800", "a\x1b[2J", 0, -1, 1, 25, 2**53, 2**63, -(2**63), 0.5, -1e9, 1e18,
    1e300, [], {}, [0] * 25, ["a"] * 300, {"a": 1},
)  # fmt: skip


def mutated(data: bytes, seed: int) -> bytes | None:
    """Return the bytes with one value of a JSON in them changed, moved or left out; None: as they are."""
    chance = random.Random(seed)
    begin, end = data.find(b"{"), data.rfind(b"}") + 1
    if BETWEEN in data and chance.random() < 0.8:
        at = chance.randrange(data.count(BETWEEN) + 1)
        part = data.split(BETWEEN)[at]
        begin = data.index(part) + max(part.find(b"{"), 0)
        end = data.index(part) + part.rfind(b"}") + 1
    try:
        whole = json.loads(data[begin:end])
    except (ValueError, RecursionError):
        return None
    if chance.random() < 0.2 or not (places := [*_places(whole)]):
        return None
    holder, key = chance.choice(places)
    how = chance.random()
    if how < 0.2:
        del holder[key]
    elif how < 0.5:
        other, there = chance.choice(places)
        holder[key] = copy.deepcopy(other[there])
    elif how < 0.7 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * chance.choice([-1, 2, 1e9, 1e-9]) + chance.choice([-1, 0, 1, 0.5])
    else:
        holder[key] = copy.deepcopy(chance.choice(_ODD))
    return data[:begin] + json.dumps(whole).encode() + data[end:]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each object and list in the value with each of its keys."""
    for key in [
        *(value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ())
    ]:
        yield value, key
        yield from _places(value[key])


TARGETS = {"answers": fuzz_answers, "state": fuzz_state}
