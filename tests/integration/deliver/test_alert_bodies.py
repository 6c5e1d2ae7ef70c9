"""What arrives at real receivers when a node says hostile things: the same facts in each format."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import cmarkgfm
import pytest
from aiosmtpd.controller import Controller
from cmarkgfm.cmark import Options
from msgspec.structs import replace

import factories
from gpu_mesh.cli.alerts import send_test
from gpu_mesh.delivery import apprise_config, sender
from gpu_mesh.delivery.apprise_config import Channel
from gpu_mesh.delivery.render import Templates
from gpu_mesh.delivery.wording import Format, OneAlert
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.standin.server import free_port
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from receivers import Mailbox

SPACE = "\u200b"
SAID = (
    "<script>alert(1)</script> [x](http://evil.example) http://evil.example @channel @everyone <!channel> "
    "<@U123> `code` **bold** _slanted_ \u202egnp.exe\nSubject: forged &lt;b&gt;"
)
SHOWN = SAID.replace("\u202e", "").replace("\n", " ")
ALERT = replace(
    factories.ALERT, text=f"degraded: {SAID}", tried=f"restarted once: {SAID}", since=factories.NOON - 100
)
FACTS = (
    f"degraded: {SHOWN}",
    "Node: Vengeance (vengeance)",
    "Status: 🔴 unhealthy, was degraded",
    "Cause: Timeout (timeout)",
    "Since: 2025-06-17 11:58:20 UTC (for 1 min 40 s)",
    "Reported: 2025-06-17 12:00:00 UTC",
    f"Tried: restarted once: {SHOWN}",
    "Next step: see whether Ollama hangs: sudo journalctl -u ollama.service on vengeance",
)


class Receiver(ThreadingHTTPServer):
    """Takes whatever is posted, and answers as the chat services do."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.posted: list[bytes] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def message(self) -> dict[str, object]:
        [content] = self.posted
        if content.startswith(b"{"):
            decoded: dict[str, object] = json.loads(content)
            return decoded
        return {key: value for key, [value] in parse_qs(content.decode()).items()}


class _Post(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = b'{"ok": true, "success": true}' if "/slack/" not in self.path else b"ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST  # noqa: N815 - the name is the standard library's

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def channel_to(url: str, folder: Path) -> Channel:
    paths = Paths((), folder, folder, folder)
    file = folder / "apprise.yml"
    file.write_text(f"urls:\n  - {url}\n")
    file.chmod(0o600)
    loaded = apprise_config.load(paths, Settings())
    assert loaded.problems == ()
    [channel] = loaded.channels
    return channel


def send(channel: Channel, templates: Templates | None = None) -> None:
    rendered = sender.worded(channel, OneAlert(ALERT), templates or Templates())
    assert rendered.problems == ()
    assert sender.send(channel, ALERT, rendered.message) == sender.Sent()


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).replace(SPACE, "").split())


def tags_of(html: str) -> set[str]:
    return set(re.findall(r"<(\w+)", html))


def as_commonmark(markdown: str) -> str:
    return cmarkgfm.markdown_to_html_with_extensions(
        markdown,
        options=Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_HARDBREAKS,
        extensions=["autolink", "strikethrough", "table"],
    )


def has_facts(text: str, but: str = "") -> bool:
    """Tell whether the text says every fact, whatever the spaces, the code, and the signs ``but``."""
    ignored = re.compile(f"[\\s`\u200b{re.escape(but)}]")
    return all(ignored.sub("", fact) in ignored.sub("", text) for fact in FACTS)


# The path in each service's message to the title (empty: the title is the body's first line) and to the body.
Path_ = tuple[object, ...]
SERVICES: dict[str, tuple[str, Path_, Path_, Format]] = {
    "json": ("json://127.0.0.1:{port}", ("title",), ("message",), Format.TEXT),
    "json, as Markdown": (
        "json://127.0.0.1:{port}?format=markdown",
        ("title",),
        ("message",),
        Format.MARKDOWN,
    ),
    "json, as HTML": ("json://127.0.0.1:{port}?format=html", ("title",), ("message",), Format.HTML),
    "form": ("form://127.0.0.1:{port}", ("title",), ("message",), Format.TEXT),
    "ntfy": ("ntfy://127.0.0.1:{port}/topic", ("title",), ("message",), Format.TEXT),
    "ntfy, as Markdown": (
        "ntfy://127.0.0.1:{port}/topic?format=markdown",
        ("title",),
        ("message",),
        Format.MARKDOWN,
    ),
    "gotify": ("gotify://127.0.0.1:{port}/TOKEN", ("title",), ("message",), Format.TEXT),
    "gotify, as Markdown": (
        "gotify://127.0.0.1:{port}/TOKEN?format=markdown",
        ("title",),
        ("message",),
        Format.MARKDOWN,
    ),
    "mattermost": ("mmost://127.0.0.1:{port}/" + "a" * 24, (), ("text",), Format.MARKDOWN),
    "rocket": (
        "rocket://" + "a" * 24 + "/" + "b" * 24 + "@127.0.0.1:{port}/%23ops?mode=webhook",
        (),
        ("text",),
        Format.MARKDOWN,
    ),
    "slack": (
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23ops",
        ("attachments", 0, "title"),
        ("attachments", 0, "text"),
        Format.MARKDOWN,
    ),
    "discord": ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", (), ("content",), Format.MARKDOWN),
    "discord, embedded": (
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?format=markdown",
        ("embeds", 0, "title"),
        ("embeds", 0, "description"),
        Format.MARKDOWN,
    ),
    "telegram": ("tgram://123456789:abcdefg_hijklmnop/12315544", (), ("text",), Format.HTML),
}


def at(message: object, path: Path_) -> str:
    for step in path:
        message = message[step]  # type: ignore[index]
    assert isinstance(message, str)
    return message


def _on_loopback(channel: Channel, port: int) -> Channel:
    """Point the services that know only their own address to the receiver."""
    service, own = channel.service, f"http://127.0.0.1:{port}"
    if "slack" in service.schemas():
        service.webhook_url = f"{own}/slack"
    elif {"discord", "tgram"} & service.schemas():
        service.notify_url = f"{own}/bot"
    return channel


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_gets_every_fact_in_its_own_format_and_nothing_that_a_node_said_is_active(
    name: str, receiver: Receiver, tmp_path: Path
) -> None:
    url, to_title, to_body, form = SERVICES[name]
    channel = _on_loopback(channel_to(url.format(port=receiver.port), tmp_path), receiver.port)
    assert sender.format_for(channel.service) is form
    send(channel)
    body = at(receiver.message, to_body)
    assert not re.search(r"@\w|<[@!#]|\]\(", body)
    if form is Format.HTML:
        assert tags_of(body) <= {"div", "p", "b", "br", "code"}
        assert re.search(r"<code[^>]*>sudo journalctl -u ollama\.service</code>", body)
        shown = text_of(body)
    elif name == "slack":  # its own Markdown: single stars, and entities for these three
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)|://", body)
        assert "- *Node:* Vengeance" in body
        shown = unescape(body)
    elif form is Format.MARKDOWN:
        assert "`sudo journalctl -u ollama.service`" in body
        assert "://" not in body
        rendered = as_commonmark(body)
        assert tags_of(rendered) <= {"p", "br", "ul", "li", "strong", "code", "h1"}
        shown = text_of(rendered)
    else:
        shown = body
    assert has_facts(shown, but="*\\" if name == "slack" else "")
    title = at(receiver.message, to_title) if to_title else shown
    assert "❌ [ERROR] Vengeance: degraded: " in title.replace("\\", "")
    assert "\u202e" not in body + title


@pytest.fixture
def mailed(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()

    def send_mail(query: str = "", templates: Templates | None = None) -> dict[str, str]:
        send(
            channel_to(f"mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com{query}", tmp_path),
            templates,
        )
        message = message_from_bytes(box.mails.pop(), policy=policy.default)
        parts = {
            part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()
        }
        return {"subject": str(message["Subject"]), **parts}

    yield send_mail
    controller.stop()


def test_a_mail_says_the_same_in_html_and_in_plain_text(mailed: Callable[..., dict[str, str]]) -> None:
    mail = mailed()
    assert len(mail["subject"]) < 80
    assert mail["subject"].startswith("❌ [ERROR] Vengeance: degraded: ")
    assert tags_of(mail["text/html"]) == {"div", "p", "b", "br", "code"}
    assert not re.search(r"(?i)src=|href=|url\(|@import", mail["text/html"])
    assert "&amp;amp;" not in mail["text/html"]
    assert has_facts(text_of(mail["text/html"]))
    assert has_facts(mail["text/plain"].replace(SPACE, ""))
    assert not re.search(r"@\w|\]\(|://", mail["text/html"])
    assert "Node: Vengeance (vengeance)" in mail["text/plain"].splitlines()


def test_a_mail_in_plain_text_is_one_when_the_url_asks_for_it(mailed: Callable[..., dict[str, str]]) -> None:
    mail = mailed("&format=text")
    assert set(mail) == {"subject", "text/plain"}
    assert has_facts(mail["text/plain"].replace(SPACE, ""))


def test_an_operators_plain_body_is_mailed_as_it_is(
    mailed: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "alert_body.txt.j2").write_text("{{ node }} <is> *{{ status }}*\n{{ cause }} & more")
    mail = mailed(templates=Templates(str(own)))
    assert mail["text/plain"].splitlines() == ["vengeance <is> *unhealthy*", "timeout & more"]
    assert "text/html" not in mail


def test_the_test_command_names_what_is_wrong_with_any_template(receiver: Receiver, tmp_path: Path) -> None:
    channel_to(f"json://127.0.0.1:{receiver.port}", tmp_path)
    (tmp_path / "alert_body.html.j2").write_text("<b>\n{{ nosuch }}</b>")
    paths = Paths((), tmp_path, tmp_path, tmp_path)
    settings = Settings(alert_templates=str(tmp_path))
    report, exit_code = send_test(paths, settings, Log(paths.log_file), lambda: 0.0)
    assert exit_code == 1
    assert f"PROBLEM  {tmp_path}/alert_body.html.j2 line 2: 'nosuch' is undefined" in report
    assert len(receiver.posted) == 3


def test_every_test_message_goes_out_in_the_format_of_its_url(receiver: Receiver, tmp_path: Path) -> None:
    channel_to(f"json://127.0.0.1:{receiver.port}?format=html", tmp_path)
    paths = Paths((), tmp_path, tmp_path, tmp_path)
    _, exit_code = send_test(paths, Settings(), Log(paths.log_file), lambda: 0.0)
    assert exit_code == 0
    assert all(json.loads(content)["message"].startswith("<div ") for content in receiver.posted)
