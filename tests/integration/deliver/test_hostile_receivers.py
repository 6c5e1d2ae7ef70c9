"""What a receiver may answer to an alert, and what came of it: delivered is what arrived; all is bounded."""

import gzip
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from factories import ALERT
from gpu_mesh.delivery import apprise_config, http_guard, sender
from gpu_mesh.delivery.render import Message
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.monitor import heartbeat
from gpu_mesh.probe import sockets
from gpu_mesh.system.paths import Paths

Answer = bytes | Callable[[socket.socket], None]


class Receiver:
    """A server that reads each request whole, and then answers what the test wants."""

    def __init__(self) -> None:
        self.answer: Answer = b""
        self.requests: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def stop(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:  # stopped
                return
            with client, suppress(OSError):
                self.requests.append(_request(client))
                if isinstance(self.answer, bytes):
                    client.sendall(self.answer)
                else:
                    self.answer(client)


def _request(client: socket.socket) -> bytes:
    client.settimeout(10)
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0].split(b":")[1]):
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture
def other() -> Iterator[Receiver]:
    server = Receiver()
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    yield server
    server.stop()


def sent(folder: Path, url: str, limit: float = 20.0) -> sender.Sent:
    """Send an alert to one URL."""
    file = folder / "apprise.yml"
    file.write_text(f"urls:\n  - {url}\n")
    file.chmod(0o600)
    (channel,) = apprise_config.load(Paths((), folder, folder, folder), Settings()).channels
    return sender.send(channel, ALERT, Message("title", "body"), limit)


def http(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def endless(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.sendall(begin)
        while True:
            client.sendall(piece)

    return answer


def dripping(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.sendall(begin)
        while True:
            client.sendall(piece)
            time.sleep(0.05)  # the receiver's own pace

    return answer


BOMB = gzip.compress(b"\0" * 50_000_000)
OK = b"HTTP/1.1 200 OK\r\n"

ARRIVES: dict[str, Answer] = {
    "200": http("200 OK"),
    "201": http("201 Created"),
    "202": http("202 Accepted", body=b"queued"),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "an answer without a length": OK + b"\r\nthank you",
    "an answer that is cut off": OK + b"Content-Length: 1000\r\n\r\nthank",
    "a large answer": http("200 OK", body=b"x" * 3_000_000),
    "an endless body": endless(OK + b"\r\n", b"x" * 65536),
    "endless chunks": endless(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"
    ),
    "a small body that grows to 50 MB": http("200 OK", "Content-Encoding: gzip", body=BOMB),
    "a page of another site": http("200 OK", "Content-Type: text/html", body=b"<html>Log in"),
    "half a header": OK + b"Content-Le",
    "a cookie": http("200 OK", "Set-Cookie: a=b"),
    "a link to elsewhere that is no redirect": http("200 OK", "Location: http://evil.example/"),
}

REFUSED: dict[str, tuple[Answer, str]] = {
    **{
        f"a redirect {status}": (
            http(f"{status} Elsewhere", "Location: http://OTHER/taken"),
            f"HTTP {status}, a redirect to OTHER: alerts follow none; put the address",
        )
        for status in (301, 302, 303, 307, 308)
    },
    "a redirect to a path": (http("302 Found", "Location: /login"), "HTTP 302, a redirect to HERE: "),
    "a redirect with a login": (
        http("302 Found", "Location: http://user:hunter2pass@OTHER/"),
        "HTTP 302, a redirect to OTHER: ",
    ),
    "a redirect to nowhere": (http("302 Found"), "HTTP 302, a redirect: alerts follow none"),
    "a redirect to itself": (http("307 Again", "Location: http://HERE/"), "HTTP 307, a redirect to HERE: "),
    "a redirect to a file": (http("301 Moved", "Location: file:///etc/passwd"), "HTTP 301, a redirect: "),
    "several choices": (http("300 Multiple Choices"), "HTTP 300, a redirect: "),
    "nothing new": (http("304 Not Modified"), "HTTP 304, a redirect: "),
    "a strange 3xx": (http("399 Whatever"), "HTTP 399, a redirect: "),
    **{
        f"an error {status}": (http(f"{status} No"), f"HTTP {status} No")
        for status in (400, 401, 403, 404, 405, 410, 413, 422, 500, 501, 502, 503, 504, 599)
    },
    "an error without a phrase": (http("500"), "HTTP 500"),
    "too many": (http("429 Slow down"), "HTTP 429, too many messages"),
    "too many, with seconds": (
        http("429 Slow down", "Retry-After: 90"), "HTTP 429, too many messages: it asks for 90 s",
    ),
    "too many, with a date": (
        http(
            "429 Slow down",
            "Date: Wed, 21 Oct 2026 07:28:00 GMT",
            "Retry-After: Wed, 21 Oct 2026 07:30:00 GMT",
        ),
        "HTTP 429, too many messages: it asks for 120 s",
    ),
    "too many, with nonsense": (http("429 Slow down", "Retry-After: soon"), "HTTP 429, too many messages"),
    "too many, with a negative time": (
        http("429 Slow down", "Retry-After: -5"), "HTTP 429, too many messages",
    ),
    "no answer": (b"", "it closed the connection without an answer"),
    "a reset": (reset, "connection reset"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", ""),
    "a broken status": (b"HTTP/1.1 abc OK\r\n\r\n", ""),
    "half a status line": (b"HTTP/1.", ""),
    "nothing but zeros": (b"\0" * 1000, ""),
    "an endless status line": (endless(b"HTTP/1.1 200 ", b"x" * 65536), ""),
    "endless headers": (endless(OK, b"X-More: x\r\n" * 1000), ""),
    "an endless header": (endless(OK + b"X-Long: ", b"x" * 65536), ""),
    "a hint before nothing": (b"HTTP/1.1 100 Continue\r\n\r\n", ""),
    "a text with a mention": (http("500 @channel <!here>"), "HTTP 500 @channel"),
    "a status with control characters": (http("500 a\x1b[31mb"), "HTTP 500 a"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRIVES)
def test_what_a_receiver_accepts_is_delivered_whatever_else_it_says(
    tmp_path: Path, receiver: Receiver, case: str
) -> None:
    receiver.answer = ARRIVES[case]
    assert sent(tmp_path, f"json://{receiver.address}/tokenvalue") == sender.Sent()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("case", REFUSED)
def test_what_did_not_arrive_is_a_failure_that_names_its_cause_and_no_secret(
    tmp_path: Path, receiver: Receiver, other: Receiver, case: str
) -> None:
    answer, reason = REFUSED[case]
    if isinstance(answer, bytes):
        answer = answer.replace(b"OTHER", other.address.encode()).replace(b"HERE", receiver.address.encode())
    receiver.answer = answer
    came = sent(tmp_path, f"json://{receiver.address}/tokenvalue?redirect=yes")
    words = reason.replace("OTHER", other.address).replace("HERE", receiver.address)
    assert came.reason
    assert came.reason.startswith(words), came.reason
    assert "hunter2pass" not in came.reason
    assert "tokenvalue" not in came.reason
    assert "\x1b" not in came.reason
    assert other.requests == []


def test_what_a_plugin_does_after_the_message_does_not_undo_it(tmp_path: Path, receiver: Receiver) -> None:
    login = b'{"status":"success","data":{"userId":"u","authToken":"t"}}'
    answers = iter([http("200 OK", body=login), http("200 OK", body=b"{}"), http("401 Unauthorized")])
    receiver.answer = lambda client: client.sendall(next(answers))
    assert sent(tmp_path, f"rocket://user:password@{receiver.address}/%23ops") == sender.Sent()
    assert [said.split()[1] for said in receiver.requests] == [
        b"/api/v1/login", b"/api/v1/chat.postMessage", b"/api/v1/logout",
    ]  # fmt: skip


def test_a_service_that_asks_for_a_pause_says_how_long(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = http("429 Slow down", "Retry-After: 90")
    assert sent(tmp_path, f"json://{receiver.address}").wait == 90.0


def test_a_receiver_that_drips_holds_nobody_up_and_memory_stays_bounded(
    tmp_path: Path, receiver: Receiver
) -> None:
    receiver.answer = dripping(OK + b"\r\n", b"x")
    assert sent(tmp_path, f"json://{receiver.address}", limit=1.0) == sender.Sent("no answer within 1 s")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    receiver.answer = endless(OK + b"\r\n", b"x" * 65536)
    sent(tmp_path, f"json://{receiver.address}")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20 * http_guard.LARGEST / 1024, "kilobytes"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http("200 OK"), ""),
        (http("204 No Content"), ""),
        (
            http("301 Moved", "Location: https://hc.example/new/secret"),
            "HTTP 301, a redirect to https://hc.example",
        ),
        (http("302 Found"), "HTTP 302, a redirect"),
        (http("404 Not Found"), "HTTP 404"),
        (http("500 No"), "HTTP 500"),
    ],
)
def test_a_heartbeat_that_is_redirected_has_not_arrived(
    receiver: Receiver, answer: bytes, reason: str
) -> None:
    receiver.answer = answer
    assert heartbeat.beat(f"http://{receiver.address}/secret", good=True, trust_env=False) == reason


HELD_UP: dict[str, tuple[Answer, str]] = {
    "nothing": (lambda client: client.recv(1), "read_timeout"),
    "a body that drips": (dripping(OK + b"\r\n", b"x"), "read_timeout"),
    "headers that drip": (dripping(OK, b"X-More: x\r\n"), "read_timeout"),
    "a status line that drips": (dripping(b"HTTP/1.1 200 ", b"x"), "read_timeout"),
    "an endless body": (endless(OK + b"\r\n", b"x" * 65536), "too_large"),
    "endless chunks": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        "too_large",
    ),
    "endless tiny chunks": (
        endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
        "too_large",
    ),
    "a body that says it is huge": (OK + b"Content-Length: 999999999999\r\n\r\n", "too_large"),
    "endless headers": (endless(OK, b"X-More: x\r\n" * 1000), "too_large"),
    "an endless header": (endless(OK + b"X-Long: ", b"x" * 65536), "too_large"),
    "endless hints before the answer": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "too_large"),
    "a redirect to itself for ever": (http("302 Found", "Location: http://HERE/"), "HTTP 302, a redirect"),
}


@pytest.mark.parametrize("case", HELD_UP)
def test_a_heartbeats_answer_holds_a_check_up_for_its_time_at_most_and_takes_bounded_memory(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    answer, reason = HELD_UP[case]
    if isinstance(answer, bytes):
        answer = answer.replace(b"HERE", receiver.address.encode())
    receiver.answer = answer
    monkeypatch.setattr(heartbeat, "PATIENCE", 0.5 if reason == "read_timeout" else 5.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    came = heartbeat.beat(f"http://{receiver.address}/secret", good=True, trust_env=False)
    assert came.startswith(reason)
    assert len(receiver.requests) == 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4 * sockets.MAX_BODY / 1024, "kilobytes"
