"""Renders an alert as a title and a body, from the built-in templates or an operator's own. For deliver.py.

Everything in an alert may come from a node: each value is one harmless line before a template sees it, and a
value is never read as a template. What happened may quote a node: it mentions nobody and links nowhere. An
operator's template that fails is replaced by the built-in one.
"""

import re
import traceback
from pathlib import Path

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from gpu_mesh.durations import in_words, moment
from gpu_mesh.plaintext import one_line
from gpu_mesh.state import Alert

BUILT_IN = Path(__file__).parent / "templates"
TITLE, BODY = "alert_title.txt.j2", "alert_body.txt.j2"
TITLE_LIMIT = 79  # characters
VALUE_LIMIT = 500
BODY_LIMIT = 4000

_ACTIVE = re.compile(r"(?<=[@<])|(?<=\])(?=\()")
"""Where chat services begin a mention (``@channel``, ``<!channel>``) or a link (``[text](address)``)."""

_UNSEEN_SPACE = "\u200b"


class Message(Struct, frozen=True):
    """An alert in words: the title one line of fewer than 80 characters, the body plain text."""

    title: str
    body: str


class Rendered(Struct, frozen=True):
    """A message, and what is wrong with the operator's templates, each with its file and line."""

    message: Message
    problems: tuple[str, ...] = ()


class _BlankError(Exception):
    """A template rendered nothing."""


class Templates:
    """The two templates of an alert, loaded once a run."""

    def __init__(self, folder: str = "") -> None:
        """Take the operator's folder, whose files override the built-in ones of the same name ("": none)."""
        self._built_in = _environment(FileSystemLoader(BUILT_IN))
        self._folder = Path(folder) if folder else None
        own = [FileSystemLoader(folder)] if folder else []
        self._env = _environment(ChoiceLoader([*own, FileSystemLoader(BUILT_IN)]))

    def render(self, alert: Alert) -> Rendered:
        """Render an alert; never fails on what an operator wrote."""
        known = values(alert)
        problems = (
            []
            if self._folder is None or self._folder.is_dir()
            else [f"{self._folder}: there is no such folder of alert templates; the built-in ones are used"]
        )
        title = self._text(TITLE, known, problems)
        body = self._text(BODY, known, problems)
        return Rendered(
            Message(_cut(" ".join(title.split()), TITLE_LIMIT), body[:BODY_LIMIT]), tuple(problems)
        )

    def _text(self, name: str, known: dict[str, str], problems: list[str]) -> str:
        if self._folder is not None:
            try:
                return _render(self._env, name, known)
            except Exception as error:  # noqa: BLE001 - an operator's template can raise anything
                problems.append(self._problem(name, error))
        return _render(self._built_in, name, known)

    def _problem(self, name: str, error: Exception) -> str:
        place, line = f"{self._folder}/{name}", getattr(error, "lineno", None)
        if isinstance(error, TemplateError) and getattr(error, "filename", None):
            place = str(error.filename)  # type: ignore[attr-defined] # a TemplateSyntaxError has it
        else:
            for frame in traceback.extract_tb(error.__traceback__):
                if self._folder is not None and Path(frame.filename).is_relative_to(self._folder):
                    place, line = frame.filename, frame.lineno
        at_line = f" line {line}" if line else ""
        what = str(error) or type(error).__name__
        return f"{place}{at_line}: {one_line(what, VALUE_LIMIT)}; the built-in template is used"


def values(alert: Alert) -> dict[str, str]:
    """Return the variables of a template: each a string of one line, "" where there is nothing to say.

    Times are UTC.
    """
    known = {
        "icon": alert.level.icon,
        "level": alert.level.value,
        "kind": alert.kind.value,
        "node": alert.node,
        "name": alert.name,
        "text": alert.text,
        "next_step": alert.next_step,
        "status": alert.status.value if alert.status else "",
        "status_icon": alert.status.icon if alert.status else "",
        "previous": alert.previous.value if alert.previous else "",
        "cause": alert.cause.value if alert.cause else "",
        "at": moment(alert.at),
        "since": moment(alert.since) if alert.since else "",
        "lasted": f"for {in_words(alert.at - alert.since)}" if alert.since else "",
        "id": str(alert.id),
        "tags": ", ".join(alert.tags),
    }
    lines = {key: one_line(value, VALUE_LIMIT) for key, value in known.items()}
    # Not the next step: it comes from the inventory alone, and its commands are there to be copied.
    lines["text"] = _ACTIVE.sub(_UNSEEN_SPACE, lines["text"])
    return {**lines, "name": lines["name"] or lines["node"] or "GPU mesh"}


def _cut(line: str, limit: int) -> str:
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _environment(loader: BaseLoader) -> ImmutableSandboxedEnvironment:
    # Not HTML: services that want it get plain text, which Apprise escapes for them.
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(env: ImmutableSandboxedEnvironment, name: str, known: dict[str, str]) -> str:
    text = env.get_template(name).render(known).strip()
    if not text:
        raise _BlankError("it renders nothing")
    return text
