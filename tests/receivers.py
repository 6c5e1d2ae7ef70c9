"""Where alerts arrive: a mail server with STARTTLS and passwords, and a web hook, as good as told."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from gpu_mesh.standin.server import free_port

PASSWORD = "hunter2pass"


class Mailbox:
    """Keeps each mail as it came; to be handed to aiosmtpd."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(envelope.content)  # type: ignore[attr-defined]
        return "250 OK"


class Mood(Enum):
    """How a receiver treats a message."""

    TAKES = auto()
    REFUSES = auto()  # nobody listens
    HANGS = auto()  # until the mood is another one
    FAILS = auto()  # 500, or 451 by mail
    BUSY = auto()  # 429


class Inbox:
    """The titles of the messages that were taken, each with what was going on then."""

    def __init__(self) -> None:
        self.mood = Mood.TAKES
        self.now: object = None  # whatever the test calls the present moment
        self.taken: list[tuple[object, str]] = []
        self.open = 0  # connections
        self._lock = threading.Lock()

    @property
    def titles(self) -> list[str]:
        return [title for _, title in self.taken]

    def take(self, title: str) -> None:
        self.taken.append((self.now, title))

    def count(self, change: int) -> None:
        with self._lock:
            self.open += change


class Hook(Inbox):
    """A web hook."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"json://127.0.0.1:{self.port}/"
        self._server: _Web | None = None
        self.set(Mood.TAKES)

    def set(self, mood: Mood) -> None:
        self.mood = mood
        if mood is Mood.REFUSES:
            self.stop()
        elif self._server is None:
            self._server = _Web(self)
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.mood = Mood.REFUSES
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Web(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, inbox: Hook) -> None:
        super().__init__(("127.0.0.1", inbox.port), _Post)
        self.inbox = inbox

    def process_request(self, request: object, client_address: object) -> None:
        self.inbox.count(1)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        super().shutdown_request(request)  # type: ignore[arg-type]
        self.inbox.count(-1)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever sent may be dead by now."""


class _Post(BaseHTTPRequestHandler):
    server: _Web

    def do_POST(self) -> None:
        inbox = self.server.inbox
        content = self.rfile.read(int(self.headers["Content-Length"]))
        while inbox.mood is Mood.HANGS:
            threading.Event().wait(0.005)
        status = {Mood.TAKES: 200, Mood.BUSY: 429}.get(inbox.mood, 500)
        with suppress(ValueError):  # cut off in the middle: nobody has sent that
            title = json.loads(content)["title"]
            if status == 200:
                inbox.take(title)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Mail(Inbox):
    """A mail server that takes messages after STARTTLS and with the right password only."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self.port = free_port()
        to = "mode=starttls&from=mesh@example.com&to=ops@example.com"
        self.url = f"mailtos://ops:{PASSWORD}@127.0.0.1:{self.port}?{to}"
        self.bodies: list[str] = []
        self._context = context
        self._controller: Controller | None = None
        self.set(Mood.TAKES)

    def set(self, mood: Mood) -> None:
        self.mood = mood
        if mood is Mood.REFUSES:
            self.stop()
        elif self._controller is None:
            self._controller = _Counted(
                self,
                hostname="127.0.0.1",
                port=self.port,
                tls_context=self._context,
                require_starttls=True,
                authenticator=_knows_the_password,
                auth_required=True,
            )
            self._controller.start()

    def stop(self) -> None:
        self.mood = Mood.REFUSES
        if self._controller:
            self._controller.stop()
            self._controller = None

    async def handle_DATA(self, server: SMTP, session: object, envelope: object) -> str:  # noqa: N802 - aiosmtpd's name
        while self.mood is Mood.HANGS:
            await asyncio.sleep(0.005)
        if self.mood is not Mood.TAKES:
            return "451 try again later"
        message = message_from_bytes(envelope.content, policy=policy.default)  # type: ignore[attr-defined]
        self.bodies.append(message.get_body(preferencelist=("plain", "html")).get_content())  # type: ignore[union-attr]
        self.take(message["Subject"])
        return "250 OK"


class _Counted(Controller):
    handler: Mail

    def factory(self) -> SMTP:
        return _Session(self.handler.count, self.handler, **self.SMTP_kwargs)


class _Session(SMTP):
    def __init__(self, count: Callable[[int], None], *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._counts = count
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._counted:  # it is called again after STARTTLS
            self._counted = True
            self._counts(1)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._counted:
            self._counted = False
            self._counts(-1)
        super().connection_lost(error)


def _knows_the_password(
    server: object, session: object, envelope: object, mechanism: str, data: object
) -> AuthResult:
    return AuthResult(success=data.password == PASSWORD.encode(), handled=False)  # type: ignore[attr-defined]
