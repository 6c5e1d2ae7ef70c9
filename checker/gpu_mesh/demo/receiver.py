"""Receives the demo's alerts on loopback, as a chat service would."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue

import msgspec


class Message(msgspec.Struct):
    """What Apprise's json:// service posts, as far as the demo shows it."""

    title: str
    message: str


@contextmanager
def receiver(messages: "SimpleQueue[Message]") -> Iterator[str]:
    """Receive alerts into the queue; yield the Apprise URL that sends them here."""

    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            messages.put(msgspec.json.decode(body, type=Message))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            """Print nothing: the demo shows the messages."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Post) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"json://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
