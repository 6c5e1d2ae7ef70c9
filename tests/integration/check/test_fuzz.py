"""Answers that no server sends: whatever comes, it is a fact about the node, in bounded time and words."""

import logging
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy

import pytest
from urllib3.connection import HTTPConnection

from fuzzed import Fed, is_visible
from gpu_mesh.domain.mesh import Node
from gpu_mesh.domain.model_name import LONGEST
from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe import ollama
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.faults import fault_of
from gpu_mesh.probe.http_client import Session
from gpu_mesh.probe.ollama import observe
from gpu_mesh.probe.sockets import Allowance
from marks import soak

ANSWERS = int(os.environ.get("GPU_MESH_FUZZ", "30000"))  # over TCP
READ = int(os.environ.get("GPU_MESH_FUZZ_READ", "680000"))  # in memory, by each of PARTS processes
PARTS = 3

STARTS = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.0 200",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 500 No",
    b"HTTP/2 200",
    b"200 OK",
]
NUMBERS = [
    b"0",
    b"2",
    b"5",
    b"-1",
    b"-5",
    b"+3",
    b"0x4",
    b"1_0",
    b"ffffffff",
    b"9" * 30,
    b"",
    b" 4 ",
    b"\xb2",
    b"4;x=y",
]
HEADERS = [
    b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Date", b"Location", b"Connection",
    b"Trailer",
    b"Content-Type", b"X", b"", b" ", b"\xff", b"Content-Length\x00",
]  # fmt: skip
VALUES = [
    *NUMBERS, b"chunked", b"chunked, chunked", b"gzip", b"identity", b"close", b"keep-alive",
    b"Thu, 01 Jan 1970",
    b"\x00", b"\xff" * 50, b"a" * 70_000, b"http://[", b"\x1b[31m", b"x\r\n folded",
]  # fmt: skip
BODIES = [
    b"{}", b'{"models":[]}', b'{"models":null}', b"[" * 5000, b'{"models":[{"name":1}]}', b"\x1f\x8b\x08",
    b"",
    b'{"models":[{"name":"\\ud800"}]}', b'{"models":[' + b"{}," * 2000 + b"{}]}", b"\xff\xfe{}",
    b"1e999", b"nul",
]  # fmt: skip


def answer(chance: random.Random) -> bytes:
    """Return one answer: pieces of HTTP, put together at random, and sometimes cut off or garbled."""
    headers = [
        chance.choice(HEADERS) + chance.choice([b": ", b":", b" ", b" : "]) + chance.choice(VALUES)
        for _ in range(chance.randint(0, 4))
    ]
    end = chance.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
    body = chance.choice(BODIES)
    if chance.random() < 0.5:
        headers.append(b"Transfer-Encoding: chunked")
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)][:50]
        sizes = [chance.choice(NUMBERS) if chance.random() < 0.2 else b"%x" % len(piece) for piece in pieces]
        body = b"".join(size + end + piece + end for size, piece in zip(sizes, pieces, strict=True))
        body += chance.choice([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"-0\r\n\r\n"])
    elif chance.random() < 0.7:
        headers.append(b"Content-Length: %d" % (len(body) + chance.choice([0, 0, 0, 1, -1])))
    whole = end.join([chance.choice(STARTS), *headers, b"", b""]) + body
    if chance.random() < 0.2:
        whole = whole[: chance.randint(0, len(whole))]
    if chance.random() < 0.1 and whole:
        at = chance.randrange(len(whole))
        whole = whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :]
    return whole


ASKED = HTTPConnection("a.invalid")
"""It has sent its request, and waits for the answer: of a copy of it, each answer is read."""
ASKED.sock = Fed(iter(()), Allowance(60.0))  # type: ignore[assignment]
ASKED.request("GET", "/api/tags", preload_content=False, decode_content=False)


def read(whole: bytes) -> tuple[Fault | None, str, tuple[str, ...]]:
    """Read an answer as a probe does; return the fault, its words and the names of the models."""
    allowance, connection = Allowance(60.0), copy(ASKED)
    connection.sock = Fed(iter([whole]), allowance)  # type: ignore[assignment]
    try:
        response = connection.getresponse()
        allowance.begin_body()
        answer = Session._answer(None, response.status, response.headers, response)  # type: ignore[arg-type]
    except GetError as error:
        return error.fault, error.detail, ()
    except Exception as error:  # noqa: BLE001 - as in a probe
        return (*fault_of(error, 60.0, heard=allowance.heard), ())
    fault, detail = ollama._status_fault(answer)
    try:
        return (
            (fault, detail, ())
            if fault
            else (None, "", ollama._names(ollama.decode(answer.body, ollama._Tags), cloud=False))
        )
    except ValueError as error:
        return Fault.NOT_JSON, str(error), ()


@pytest.fixture
def server() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    listening, said = socket.create_server(("127.0.0.1", 0)), [b""]

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # closed
                return
            with client, suppress(OSError):
                client.recv(65536)
                client.sendall(said[0])

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", lambda whole: said.__setitem__(0, whole)
    listening.close()


def new_seed() -> int:
    seed = int(os.environ.get("GPU_MESH_FUZZ_SEED") or random.randrange(10**9))
    print(f"GPU_MESH_FUZZ_SEED={seed}")
    return seed


@pytest.mark.parametrize(("part", "number"), [(0, 3000), *(soak(part, READ) for part in range(1, PARTS + 1))])
@pytest.mark.timeout(600)
def test_whatever_bytes_come_reading_them_ends_with_a_fact_about_the_node(
    part: int,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    seed = new_seed() + part
    chance, faults = random.Random(seed), Counter[str]()
    for name in ("urllib3.connection", "urllib3.response"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)  # pytest would keep what they say
    for _ in range(number):
        whole = answer(chance)
        fault, _, models = read(whole)
        assert fault not in (Fault.MONITOR, Fault.BROKEN, Fault.UNUSABLE), whole
        assert all(len(model) <= LONGEST and is_visible(model) for model in models), whole
        faults[fault.value if fault else "none"] += 1
    shown = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
    record_property("shown", f"{number} hostile answers in memory, seed {seed}: {shown}")


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_whatever_a_node_answers_is_a_fact_about_the_node(
    server: tuple[str, Callable[[bytes], None]], record_property: Callable[[str, object], None]
) -> None:
    url, say = server
    seed = new_seed()
    chance, faults = random.Random(seed), Counter[str]()
    node = Node("a", "A", url, timeout=5.0)
    for _ in range(ANSWERS):
        whole = answer(chance)
        say(whole)
        seen = observe(node, 1000.0, ask_version=chance.random() < 0.1, trust_env=False)
        fault = seen.tags.fault
        assert fault not in (Fault.MONITOR, Fault.BROKEN), whole
        assert seen.tags.ms < 1000 * node.timeout, whole
        assert len(seen.tags.detail) <= 200, whole
        assert is_visible(seen.tags.detail), whole
        assert all(len(model) <= 500 and is_visible(model) for model in seen.models), whole
        faults[fault.value if fault else "none"] += 1
    record_property(
        "shown",
        f"{ANSWERS} hostile answers over TCP, seed {seed}: "
        + ", ".join(f"{n} {f}" for f, n in faults.most_common()),
    )
