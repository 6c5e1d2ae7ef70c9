"""Reads the Apprise configuration: which URLs there are, with which tags. For the commands that send.

Apprise silently skips a URL that it does not understand, and its log quotes secrets. So each entry is given
to it alone, its log is captured, and only the scheme and a plain host name of an entry are ever shown.
(Apprise's own privacy URL shows paths, headers and topics, which are often secret.)
"""

import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import apprise
from apprise import plugins
from apprise.config import ConfigBase
from msgspec import Struct

from gpu_mesh.delivery import secret_file
from gpu_mesh.delivery.apprise_entries import Entry, from_text, from_yaml, groups, names_nobody
from gpu_mesh.delivery.outbox import Target, with_levels_of_groups
from gpu_mesh.delivery.place import expected_place
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.suggest import nearest

REASON_LIMIT = 200
_LOGGER = logging.getLogger("apprise")
_TAG = frozenset({"tag", "tags"})
_COUNTED = re.compile(r"(entry #|on line )\d")
_CAUSE = re.compile(
    r"\[Errno -?\d+\] [A-Za-z ]+|certificate verify failed|timed out|\(\d{3}, b'[^']{1,80}'\)"
)


class Channel(Struct, frozen=True):
    """One URL that alerts can go to."""

    target: Target
    label: str  # service and host, for people; no secret
    service: apprise.NotifyBase
    secrets: tuple[str, ...]  # every part of the entry, longest first
    place: str  # file and line


class Configuration(Struct, frozen=True):
    """What a configuration file holds."""

    path: Path | None  # None: there is no file at any of the usual places
    channels: tuple[Channel, ...] = ()
    problems: tuple[str, ...] = ()  # parts that cannot be used, each with file and line
    notes: tuple[str, ...] = ()  # parts that work, but that somebody should look at
    groups: frozenset[str] = frozenset()  # the names of Apprise's own groups of tags

    @property
    def targets(self) -> tuple[Target, ...]:
        """The URLs as the outbox knows them."""
        return tuple(channel.target for channel in self.channels)


def load(paths: Paths, settings: Settings) -> Configuration:
    """Read the configuration; its ``problems`` say what is wrong, and the rest can be used."""
    path = expected_place(paths, settings)
    if not settings.apprise_config and not path.exists():
        return Configuration(None)
    content = secret_file.read(path)
    if content.problem:
        return Configuration(path, problems=(content.problem,), notes=content.notes)
    return _parse(path, content.text, content.notes)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect what Apprise logs in this thread: its warnings, and the bare causes in its debug messages.

    None of it reaches standard error. The texts may contain secrets: see ``masked``.
    """
    capture = _Capture()
    _LOGGER.addHandler(capture)
    try:
        yield capture.messages
    finally:
        _LOGGER.removeHandler(capture)


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """Return the text on one line of at most 200 characters, with every given secret replaced."""
    for secret in secrets:
        text = text.replace(secret, "***")
    text = re.sub(r"([a-z][a-z0-9+.-]*://)[^\s'\"]+", r"\1***", text, flags=re.IGNORECASE)
    return one_line(text, REASON_LIMIT)


def quieten() -> None:
    """Keep Apprise and the libraries below it from printing URLs."""
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.DEBUG)
    for name in ("urllib3", "requests", "smtplib", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False


class _Capture(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.messages.append(text)
        else:
            self.messages.extend(_CAUSE.findall(text)[:1])


def _parse(path: Path, text: str, notes: tuple[str, ...]) -> Configuration:
    quieten()
    is_yaml = path.suffix.lower() in {".yml", ".yaml"}
    if not is_yaml:
        with captured():
            is_yaml = ConfigBase.detect_config_format(text) == apprise.ConfigFormat.YAML
    entries, problems = (from_yaml if is_yaml else from_text)(text)
    if not entries and not problems:
        if is_yaml and names_nobody(text):
            nobody = f"{path}: urls is empty: no alert goes anywhere, and nobody is told of anything"
            return Configuration(path, notes=(*notes, nobody))
        # It may be half written.
        empty = f"{path}: it names no URL; if no alert shall go anywhere, write: urls: []"
        return Configuration(path, problems=(empty,), notes=notes)
    known_groups = groups(text, is_yaml=is_yaml) if entries else {}
    channels: list[Channel] = []
    more_notes: list[str] = []
    for entry in entries:
        service, reasons = _service(entry)
        place = f"{path} line {entry.line}"
        if service is None:
            problems.append((entry.line, f"Apprise does not accept this entry{_because(reasons)}"))
            continue
        more_notes += [f"{place}: {reason}" for reason in (*reasons, *_misspelt_tags(entry.raw, service))]
        taken = [channel.target.id for channel in channels]
        channels.append(_channel(entry, service, place, taken, known_groups))
    return Configuration(
        path,
        tuple(channels),
        tuple(f"{path} line {line}: {what}" for line, what in sorted(problems)),
        (*notes, *more_notes),
        frozenset(known_groups),
    )


def _because(reasons: list[str]) -> str:
    return f": {'; '.join(reasons)}" if reasons else ""


def _service(entry: Entry) -> tuple[apprise.NotifyBase | None, list[str]]:
    """Load one entry; the reasons are masked."""
    asset = apprise.AppriseAsset(
        app_id="GPU mesh",
        app_desc="Aurora GPU Mesh",
        app_url="https://github.com/aurora-gpu-mesh/aurora-gpu-mesh",
        interpret_emojis=False,  # a node's text is sent as it is
        service_timeout=0,  # sender.py limits the time, in threads that cannot keep the process from ending
    )
    secrets = _secrets(entry.raw)
    with captured() as messages:
        try:
            services, _ = ConfigBase.config_parse(
                entry.content, asset=asset, config_format="yaml" if entry.yaml else "text"
            )
        except Exception as error:  # noqa: BLE001 - an error in one plugin must not hide the other entries
            services, messages = [], [*messages, f"{type(error).__name__}: {error}"]
    # Apprise's own entry and line numbers are wrong here: it was given this entry alone.
    reasons = [masked(message, secrets) for message in messages if not _COUNTED.search(message)]
    service = services[0] if services else None
    return service if isinstance(service, apprise.NotifyBase) else None, list(dict.fromkeys(reasons))


def _misspelt_tags(raw: object, service: apprise.NotifyBase) -> Iterator[str]:
    """Yield a note on each option that looks like ``tag`` but is not the service's: Apprise ignores it."""
    for key in _options(raw):
        if key not in _TAG and nearest(key.lower(), _TAG, similar=0.65):
            details = plugins.details(type(service))  # type: ignore[no-untyped-call] # Apprise leaves it untyped
            if key not in details["args"] and key not in details["tokens"]:
                yield f"the option {key} means nothing; if it shall be a tag, write tag:"


def _options(raw: object) -> Iterator[str]:
    if isinstance(raw, dict):
        for key, value in raw.items():
            if isinstance(key, str) and "://" not in key:
                yield key
            else:
                yield from _options(value)
    elif isinstance(raw, list):
        for item in raw:
            yield from _options(item)


def _channel(
    entry: Entry,
    service: apprise.NotifyBase,
    place: str,
    taken: list[str],
    known_groups: Mapping[str, frozenset[str]],
) -> Channel:
    service.redirects = False  # whatever the URL says: see http_guard.py
    service.optional = False  # a failure of an optional URL would count as delivered
    identity = json.dumps(_without_tags(entry.raw), sort_keys=True, default=str)
    target_id, occurrence = _hash(identity), 1
    while target_id in taken:  # the same URL twice, say with other tags
        occurrence += 1
        target_id = _hash(f"{occurrence} {identity}")
    tags = frozenset(re.sub(r"^\d+:", "", str(tag)).lower() for tag in service.tags)  # "2:ops": a priority
    tags = with_levels_of_groups(tags, known_groups)
    return Channel(Target(target_id, tags), _label(service), service, _secrets(entry.raw), place)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _label(service: apprise.NotifyBase) -> str:
    """Name the service, and its host only where that cannot be a token or a topic."""
    url = service.url(privacy=True)  # type: ignore[no-untyped-call] # Apprise leaves it untyped
    schema = str(url).partition("://")[0]
    host = str(service.host or "")
    shown = "host" in service.template_tokens and ("." in host or ":" in host or host == "localhost")
    port = f":{service.port}" if shown and service.port else ""
    return f"{one_line(str(service.service_name), 40)} {schema}://{host if shown else '***'}{port}"


def _secrets(raw: object) -> tuple[str, ...]:
    """Return every part of an entry that may be secret, the longest first: a whole before its parts."""
    found: set[str] = set()
    for text in _strings(raw):
        for form in (text, unquote(text)):
            found.add(form)
            found.update(re.split(r"[/:@?&=,#\s]+", form.partition("://")[2] or form))
    return tuple(sorted((part for part in found if len(part) >= 3), key=lambda part: (-len(part), part)))


def _strings(raw: object) -> Iterator[str]:
    if isinstance(raw, dict):
        for key, value in raw.items():
            if isinstance(key, str) and "://" in key:
                yield key
            if key not in _TAG:
                yield from _strings(value)
    elif isinstance(raw, list):
        for item in raw:
            yield from _strings(item)
    elif raw is not None and not isinstance(raw, bool):
        yield str(raw)


def _without_tags(raw: object) -> object:
    """Return the part of the entry that identifies its URL: with other tags it is still the same URL."""
    if isinstance(raw, dict):
        return {str(key): _without_tags(value) for key, value in raw.items() if key not in _TAG}
    return [_without_tags(item) for item in raw] if isinstance(raw, list) else raw
