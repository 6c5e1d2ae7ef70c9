"""Renders one message for one URL and sends it through Apprise, within a time limit.

For worker.py and the alerts command. A body is rendered in the format that Apprise passes to the service, so
that Apprise neither converts nor escapes it again.
"""

import threading
from queue import Empty, SimpleQueue

import apprise
from msgspec import Struct

from gpu_mesh.delivery import http_guard
from gpu_mesh.delivery.apprise_config import REASON_LIMIT, Channel, captured, masked
from gpu_mesh.delivery.http_guard import Exchange
from gpu_mesh.delivery.render import BODY_LIMIT, Message, Rendered, Templates
from gpu_mesh.delivery.wording import Format, OneAlert, Subject
from gpu_mesh.domain.alert import Alert, Level
from gpu_mesh.domain.health import Status
from gpu_mesh.text.sanitize import one_line

SEND_LIMIT = 20.0
"""Seconds that one alert may take at one URL, including Apprise's own pause between two messages."""

http_guard.install()

_FORMATS = {
    apprise.NotifyFormat.TEXT: Format.TEXT,
    apprise.NotifyFormat.MARKDOWN: Format.MARKDOWN,
    apprise.NotifyFormat.HTML: Format.HTML,
}
_NAMES = {ours: theirs for theirs, ours in _FORMATS.items()}

_MARKDOWN_AS_TEXT = frozenset({"discord", "fluxer", "guilded", "mmost", "revolt", "zulip"})
"""Services that show Markdown in what Apprise sends them as text."""

_TITLE_IN_BODY = frozenset({"discord", "fluxer", "guilded", "revolt"})
"""Services that have titles by Apprise's account, but show them as the first line of the body."""

_TYPES = {
    Level.INFO: apprise.NotifyType.INFO,
    Level.WARNING: apprise.NotifyType.WARNING,
    Level.ERROR: apprise.NotifyType.FAILURE,
    Level.CRITICAL: apprise.NotifyType.FAILURE,
}


def format_for(service: apprise.NotifyBase) -> Format:
    """Return the format of a body for the service: ``format=`` of its URL, else what the service shows."""
    form = _FORMATS[service.resolve_format(None)]
    return Format.MARKDOWN if form is Format.TEXT and _is_one_of(_MARKDOWN_AS_TEXT, service) else form


def worded(channel: Channel, subject: Subject, templates: Templates) -> Rendered:
    """Render a message in the format, and if possible in the length, that the service of the URL takes."""
    return templates.render(subject, format_for(channel.service), channel.service.body_maxlen or BODY_LIMIT)


def send_alone(channel: Channel, alert: Alert, templates: Templates) -> str:
    """Send a message about one alert; return why it was not delivered ("": it was)."""
    return send(channel, alert, worded(channel, OneAlert(alert), templates).message).reason


class Sent(Struct, frozen=True):
    """What came of a message."""

    reason: str = ""  # why it was not delivered, at most 200 characters without secrets; "": it was
    wait: float = 0.0  # seconds that the service asks to wait; 0.0: it does not


def send(channel: Channel, alert: Alert, message: Message, limit: float = SEND_LIMIT) -> Sent:
    """Send a message, as ``worded`` for this URL, and wait for the answer, at most ``limit`` seconds.

    A request that hangs longer stays in a daemon thread: neither other URLs nor the end of the process wait.
    """
    answer: SimpleQueue[Sent] = SimpleQueue()
    threading.Thread(
        target=lambda: answer.put(_notify(channel, alert, message)), name=channel.target.id, daemon=True
    ).start()
    try:
        return answer.get(timeout=limit)
    except Empty:
        return Sent(f"no answer within {limit:g} s")


def _notify(channel: Channel, alert: Alert, message: Message) -> Sent:
    one = apprise.Apprise(asset=channel.service.asset)
    one.add(channel.service)
    with captured() as said, http_guard.watched() as exchanges:
        try:
            accepted = bool(
                one.notify(
                    body=message.body,
                    title=message.heading if _shows_title_in_body(channel.service) else message.title,
                    notify_type=_type(alert),
                    body_format=_NAMES[message.format],
                    interpret_escapes=False,
                )
            )
        except Exception as error:  # noqa: BLE001 - a plugin can raise anything; it is one URL's failure
            return Sent(masked(f"{type(error).__name__}: {error}", channel.secrets))
    redirects = [each for each in exchanges if each.redirected]
    last = (redirects or exchanges or [Exchange()])[-1]
    if accepted and not redirects:  # what else a plugin accepts is its account: a logout that fails, say
        return Sent()
    if last.problem:
        return Sent(_words(channel, last), last.wait)
    reason = masked("; ".join(dict.fromkeys(said)), channel.secrets)
    return Sent(reason or "the service refused it without a reason")


def _words(channel: Channel, failed: Exchange) -> str:
    """Say why a message did not arrive: in our words, and in the receiver's, where these are no secret."""
    if not failed.redirected:
        said = masked(failed.said, channel.secrets)
        return one_line(f"{failed.problem} {said}", REASON_LIMIT)
    hidden = any(secret in failed.host for secret in channel.secrets if secret not in channel.label)
    to = f" to {'a host that is not shown' if hidden else failed.host}" if failed.host else ""
    step = "alerts follow none; put the address it means into the file"
    return one_line(f"{failed.problem}{to}: {step}", REASON_LIMIT)


def _shows_title_in_body(service: apprise.NotifyBase) -> bool:
    return service.title_maxlen <= 0 or _is_one_of(_TITLE_IN_BODY, service)


def _is_one_of(schemas: frozenset[str], service: apprise.NotifyBase) -> bool:
    known: set[str] = service.schemas()  # type: ignore[no-untyped-call] # Apprise gives it no type
    return not schemas.isdisjoint(known)


def _type(alert: Alert) -> apprise.NotifyType:
    recovered = alert.level is Level.INFO and alert.status is Status.HEALTHY
    return apprise.NotifyType.SUCCESS if recovered else _TYPES[alert.level]
