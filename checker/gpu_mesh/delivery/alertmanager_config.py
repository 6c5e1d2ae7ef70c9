"""Reads alertmanager.yml: which Alertmanagers there are, with which passwords. For the commands that send.

A problem that is reported here never quotes the file: it contains secrets.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from msgspec import Struct

from gpu_mesh.delivery import secret_file
from gpu_mesh.delivery.secret_file import Problem
from gpu_mesh.text.suggest import did_you_mean

TOP = "alertmanagers"
OPTIONS = ("url", "username", "password", "bearer_token", "ca_file")

MOST = 16
"""As many Alertmanagers may be named: a cluster has three or so."""

_API = re.compile(r"/api(/.*)?$")


class Alertmanager(Struct, frozen=True):
    """One Alertmanager."""

    id: str  # hash of the URL
    url: str  # without a trailing slash
    label: str  # its URL without the path, for people; no secret
    place: str  # file and line
    authorization: str = ""  # the header's value; a secret
    ca_file: str = ""  # "": the public CAs


class Configuration(Struct, frozen=True):
    """What the file holds."""

    alertmanagers: tuple[Alertmanager, ...] = ()
    problems: tuple[str, ...] = ()  # parts that cannot be used, each with file and line
    notes: tuple[str, ...] = ()  # what works, but somebody should look at


def load(path: Path) -> Configuration:
    """Read the file; its ``problems`` say what is wrong, and the rest can be used."""
    content = secret_file.read(path)
    if content.problem:
        return Configuration(problems=(content.problem,), notes=content.notes)
    try:
        root = yaml.compose(content.text, Loader=yaml.SafeLoader)
        found = [*_entries(path, root)]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = [secret_file.of_yaml(error)]
    problems = sorted(each for each in found if isinstance(each, tuple))
    return Configuration(
        tuple(each for each in found if isinstance(each, Alertmanager)),
        tuple(f"{path} line {line}: {what}" for line, what in problems),
        content.notes,
    )


def _entries(path: Path, root: yaml.Node | None) -> Iterator[Alertmanager | Problem]:
    if not isinstance(root, yaml.MappingNode):
        yield 1, f"expected a mapping with the key {TOP}; for no Alertmanager, write: {TOP}: []"
        return
    entries = None
    for key, value in root.value:
        if key.value == TOP and isinstance(value, yaml.SequenceNode):
            entries = value.value
        elif key.value == TOP:
            yield _line(value), f"{TOP} is not a list"
            return
        else:
            yield _line(key), f"unknown key {_shown(key, (TOP,))}"
    if entries is None:
        if not root.value:
            yield 1, f"it has no key {TOP}; for no Alertmanager, write: {TOP}: []"
        return
    if len(entries) > MOST:
        yield _line(entries[MOST]), f"more than {MOST} Alertmanagers"
    seen: set[str] = set()
    for entry in entries[:MOST]:
        options, problems = _options(entry)
        if options or not problems:
            problems += _wrong(options, _line(entry))
        if problems:
            yield from problems
            continue
        made = _made(path, entry, {name: value.value for name, value in options.items()})
        if made.id in seen:
            yield _line(options["url"]), "the same url twice"
        else:
            yield made
        seen.add(made.id)


def _options(entry: yaml.Node) -> tuple[dict[str, yaml.ScalarNode], list[Problem]]:
    """Return the options of an entry that can be judged further, and what is wrong with the others."""
    if not isinstance(entry, yaml.MappingNode):
        return {}, [(_line(entry), "an Alertmanager is a mapping: - url: http://127.0.0.1:9093")]
    options: dict[str, yaml.ScalarNode] = {}
    problems: list[Problem] = []
    for key, value in entry.value:
        if key.value not in OPTIONS:
            problems.append((_line(key), f"unknown option {_shown(key, OPTIONS)}"))
        elif not isinstance(value, yaml.ScalarNode) or not value.value.strip() or _is_null(value):
            problems.append((_line(key), f"{key.value} must be one text"))
        elif key.value in options:
            problems.append((_line(key), f"{key.value} twice"))
        else:
            options[key.value] = value
    return options, problems


def _wrong(options: dict[str, yaml.ScalarNode], line: int) -> list[Problem]:
    """Return what is wrong with options that are known."""
    problems: list[Problem] = []
    if "url" not in options:
        problems.append((line, "it has no url"))
    elif what := _wrong_url(options["url"].value):
        problems.append((_line(options["url"]), f"url {what}"))
    elif "ca_file" in options and not options["url"].value.startswith("https:"):
        problems.append(
            (_line(options["ca_file"]), "ca_file has no meaning: the url does not begin with https://")
        )
    if ("username" in options) != ("password" in options):
        problems.append((line, "username and password belong together"))
    if "bearer_token" in options and "password" in options:
        problems.append((line, "either username and password, or bearer_token"))
    token = options.get("bearer_token")
    if token and not (token.value.isascii() and token.value.isprintable() and " " not in token.value):
        problems.append((_line(token), "bearer_token has characters that a header cannot have"))
    if "ca_file" in options and not options["ca_file"].value.startswith("/"):
        problems.append((_line(options["ca_file"]), "ca_file is not an absolute path"))
    return problems


def _wrong_url(text: str) -> str:
    """Say what is wrong with a URL, without repeating it; "": nothing is."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "cannot be read: a host, and a port if need be"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must begin with http:// or https://, and name a host"
    if parts.username is not None or parts.password is not None:
        return "holds a login: write it as username and password"
    if parts.query or parts.fragment or not text.isascii() or not text.isprintable() or " " in text:
        return "may have a host, a port and a path, and nothing else"
    if _API.search(parts.path.rstrip("/")):
        return "must end before /api: /api/v2/alerts is added to it"
    return ""


def _made(path: Path, entry: yaml.Node, given: dict[str, str]) -> Alertmanager:
    url = given["url"].rstrip("/")
    parts = urlsplit(url)
    authorization = ""
    if "bearer_token" in given:
        authorization = f"Bearer {given['bearer_token']}"
    elif "password" in given:
        login = f"{given['username']}:{given['password']}".encode()
        authorization = f"Basic {base64.b64encode(login).decode()}"
    return Alertmanager(
        id=hashlib.sha256(url.encode()).hexdigest()[:12],
        url=url,
        label=f"{parts.scheme}://{parts.netloc}",
        place=f"{path} line {_line(entry)}",
        authorization=authorization,
        ca_file=given.get("ca_file", ""),
    )


def _shown(key: yaml.Node, known: tuple[str, ...]) -> str:
    """Return a key that is a plain word, with the nearest right one; what else it is may be a secret."""
    text = key.value if isinstance(key.value, str) and re.fullmatch(r"[A-Za-z_-]{1,20}", key.value) else "***"
    near = did_you_mean(text, known, f"known: {', '.join(known)}")
    return f"{text}; {near}"


def _is_null(value: yaml.ScalarNode) -> bool:
    return bool(value.tag == "tag:yaml.org,2002:null")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
