"""The ways in which an Ollama, a proxy or a network can fail, for server.py to act out on demand."""

import gzip
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_mesh.standin.server import Exchange

Row = Callable[["Exchange"], None]


def _hang(exchange: "Exchange") -> None:
    exchange.standin.wait(exchange.standin.seconds)
    exchange.drop()


def _drip(exchange: "Exchange") -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while not exchange.standin.closing.wait(1.0):
        exchange.raw(b" ")


def _endless_headers(exchange: "Exchange") -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\n")
    while not exchange.standin.closing.is_set():
        exchange.raw(b"X-More: " + b"x" * 1000 + b"\r\n")


def _huge(exchange: "Exchange") -> None:
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    block = b" " * 2**20
    for _ in range(2048):
        exchange.raw(block)
    exchange.drop()


def _status(status: int) -> Row:
    return lambda exchange: exchange.send_json(status, {"error": f"stand-in: {status}"})


def _html(exchange: "Exchange") -> None:
    exchange.send(200, b"<!DOCTYPE html><title>Welcome</title><h1>It works!</h1>", "text/html")


def _broken_json(exchange: "Exchange") -> None:
    exchange.send(200, b'{"models": [{"name": "llama', "application/json")


def _deep_json(exchange: "Exchange") -> None:
    exchange.send(200, b'{"models": null, "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "application/json")


def _redirect(exchange: "Exchange") -> None:
    exchange.send(302, b"", "text/plain", Location="/elsewhere")


def _reset(exchange: "Exchange") -> None:
    exchange.close_connection = True
    linger = struct.pack("ii", 1, 0)  # closing then sends RST
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    os.close(exchange.connection.detach())


def _half_body(exchange: "Exchange") -> None:
    exchange.raw(
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"models":'
    )
    exchange.drop()


def _slow_ps(exchange: "Exchange") -> None:
    if exchange.path == "/api/ps":
        exchange.standin.wait(exchange.standin.seconds)
    exchange.answer()


def _slow(exchange: "Exchange") -> None:
    exchange.standin.wait(exchange.standin.seconds)
    exchange.answer()


def _gzip_bomb(exchange: "Exchange") -> None:
    # Gzip files in a row are one. To compress all of it takes a second, and whoever asks has given up then.
    bomb = gzip.compress(b" " * 2**20) * 64
    exchange.send(200, bomb, "application/json", Content_Encoding="gzip")


def _hung_runner(exchange: "Exchange") -> None:
    if exchange.path == "/api/generate":
        _hang(exchange)
    else:
        exchange.answer()


def _busy(exchange: "Exchange") -> None:
    if exchange.path == "/api/generate":
        exchange.body()
        busy = "server busy, please try again.  maximum pending requests exceeded"
        exchange.send_json(503, {"error": busy})
    else:
        exchange.answer()


FAULTS: dict[str, Row] = {
    "none": lambda exchange: exchange.answer(),
    "hang": _hang,  # accepts, never answers
    "drip": _drip,  # one byte a second
    "endless_headers": _endless_headers,
    "huge": _huge,  # 2 GiB
    "http_500": _status(500),
    "http_503": _status(503),
    "forbidden": _status(403),
    "unauthorized": _status(401),
    "html": _html,
    "broken_json": _broken_json,
    "deep_json": _deep_json,
    "redirect": _redirect,
    "reset": _reset,
    "close": lambda exchange: exchange.drop(),  # an empty answer
    "half_body": _half_body,
    "slow_ps": _slow_ps,  # as while a model loads
    "no_models": lambda exchange: exchange.answer(empty=True),
    "cpu": lambda exchange: exchange.answer(on_gpu=0.0),
    "partly_cpu": lambda exchange: exchange.answer(on_gpu=0.6),
    "stuck_stopping": lambda exchange: exchange.answer(expired=1800.0),
    "slow": _slow,
    "gzip_bomb": _gzip_bomb,
    "hung_runner": _hung_runner,
    "busy": _busy,
}
