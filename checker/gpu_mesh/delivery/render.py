"""Renders an alert as a title and a body, from the built-in templates or an operator's own. For sender.py.

Everything in an alert may come from a node. So each value becomes one harmless line before a template sees
it; it is escaped for the format of the body, and never read as a template. The text of what happened may
quote a node; it cannot mention anybody or make a link. Where an operator's template fails, the built-in one
is used.
"""

import traceback
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape
from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.delivery import markup
from gpu_mesh.domain.alert import Alert
from gpu_mesh.domain.causes import CAUSES, Cause
from gpu_mesh.text.humanize import lasted, moment
from gpu_mesh.text.sanitize import one_line

BUILT_IN = Path(__file__).parent / "templates"
TITLE = "alert_title.txt.j2"
TITLE_LIMIT = 79  # characters
SHORTEST_TEXT = 20  # characters of what happened that remain in a long title
BODY_LIMIT = 4000
VALUE_LIMITS = (500, 250, 120, 60)
"""Characters of a value: the most, then what it is cut to where the whole message would be too long."""


class Format(StrEnum):
    """What a body is written in."""

    TEXT = "txt"
    MARKDOWN = "md"
    HTML = "html"

    @property
    def template(self) -> str:
        """The file that renders it."""
        return f"alert_body.{self.value}.j2"


class Message(Struct, frozen=True):
    """An alert in words."""

    title: str  # one line of fewer than 80 characters, plain text
    body: str
    format: Format = Format.TEXT  # of the body
    heading: str = ""  # the title in the format of the body, for services that show it there


class Rendered(Struct, frozen=True):
    """A message, and the problems of the operator's templates, each with its file and line."""

    message: Message
    problems: tuple[str, ...] = ()


_T = TypeVar("_T")


class _UnusableError(Exception):
    """A template's result cannot be sent."""


_Environments = Mapping[Format, ImmutableSandboxedEnvironment]


class Templates:
    """The templates of an alert, loaded once in a run."""

    def __init__(self, folder: str = "") -> None:
        """Take the operator's folder, whose files override the built-in ones of the same name ("": none)."""
        self._folder = Path(folder) if folder else None
        built_in = FileSystemLoader(BUILT_IN)
        both = ChoiceLoader([FileSystemLoader(folder), built_in]) if folder else built_in
        self._built_in = {form: _environment(built_in, form) for form in Format}
        self._own = {form: _environment(both, form) for form in Format}

    def render(self, alert: Alert, form: Format = Format.TEXT, room: int = BODY_LIMIT) -> Rendered:
        """Render an alert; an error in an operator's template is reported, not raised.

        Where the operator's folder has a plain body but none in the wanted format, the plain one is used.

        Args:
            alert: the facts.
            form: the format that the service shows.
            room: the most characters of heading and body together; values are shortened to fit.
        """
        form = self._written(form)
        problems = (
            []
            if self._folder is None or self._folder.is_dir()
            else [f"{self._folder}: there is no such folder of alert templates; the built-in ones are used"]
        )
        title, heading = self._try(TITLE, problems, lambda envs: _title(envs, alert, form))
        limit = min(BODY_LIMIT, room - len(heading))
        body = self._try(form.template, problems, lambda envs: _body(envs[form], alert, form, limit))
        return Rendered(Message(title, body, form, heading), tuple(problems))

    def _written(self, form: Format) -> Format:
        if self._folder is None or (self._folder / form.template).exists():
            return form
        return Format.TEXT if (self._folder / Format.TEXT.template).exists() else form

    def _try(self, name: str, problems: list[str], work: Callable[[_Environments], _T]) -> _T:
        if self._folder is not None:
            try:
                return work(self._own)
            except Exception as error:  # noqa: BLE001 - an operator's template can raise anything
                problems.append(self._problem(name, error))
        return work(self._built_in)

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
        return f"{place}{at_line}: {one_line(what, VALUE_LIMITS[0])}; the built-in template is used"


def values(alert: Alert, form: Format = Format.TEXT, limit: int = VALUE_LIMITS[0]) -> dict[str, str]:
    """Return the variables of a template: each a string of one line, "" where there is no value.

    For Markdown each value is escaped here. For HTML the templates escape; the next step, whose commands are
    code, is marked as HTML already. Times are UTC.

    Args:
        alert: the facts.
        form: the format of the template.
        limit: the most characters of a value before it is escaped.
    """
    known = {
        "icon": alert.level.icon,
        "level": alert.level.value,
        "kind": alert.kind.value,
        "node": alert.node,
        "name": alert.name,
        "text": alert.text,
        "tried": alert.tried,
        "next_step": alert.next_step,
        "status": alert.status.value if alert.status else "",
        "status_icon": alert.status.icon if alert.status else "",
        "previous": alert.previous.value if alert.previous else "",
        "cause": alert.cause.value if alert.cause else "",
        "cause_words": _words(alert.cause) if alert.cause else "",
        "at": moment(alert.at),
        "since": moment(alert.since) if alert.since else "",
        "lasted": lasted("for {}", alert.since, alert.ended or alert.at) if alert.since else "",
        "id": str(alert.id),
        "tags": ", ".join(alert.tags),
    }
    lines = {key: one_line(value, limit) for key, value in known.items()}
    lines["name"] = lines["name"] or lines["node"] or "GPU mesh"
    if form is Format.MARKDOWN:
        escaped = {key: markup.markdown(line) for key, line in lines.items()}
        return {**escaped, "next_step": markup.step_in_markdown(lines["next_step"])}
    if form is Format.HTML:
        quiet = {key: markup.quiet_everywhere(line) for key, line in lines.items()}
        return {**quiet, "next_step": markup.step_in_html(lines["next_step"])}
    # The next step stays as it is: it comes from the inventory only, and people copy its commands.
    return {**lines, "text": markup.quiet(lines["text"]), "tried": markup.quiet(lines["tried"])}


_PLACES = {
    "url": "its address",
    "port": "of the tunnel",
    "node": "it",
    "host": "its host",
    "unit": "its unit",
}
"""Replaces details of the node, which an alert does not have, in the words of a cause."""


def _words(cause: Cause) -> str:
    return CAUSES[cause].words.format_map(_PLACES)


def _title(envs: _Environments, alert: Alert, form: Format) -> tuple[str, str]:
    """Return the title in plain text and in the format of the body, with the same words."""
    title = ""
    for limit in range(TITLE_LIMIT, SHORTEST_TEXT, -1):
        shorter = replace(alert, text=one_line(alert.text, limit))
        title = _line(envs[Format.TEXT], values(shorter))
        if len(title) <= TITLE_LIMIT:
            return title, title if form is Format.TEXT else _line(envs[form], values(shorter, form))
    title = _cut(title, TITLE_LIMIT)
    return title, _literal(title, form)


def _line(env: ImmutableSandboxedEnvironment, known: dict[str, str]) -> str:
    return " ".join(_render(env, TITLE, known).split())


def _literal(line: str, form: Format) -> str:
    if form is Format.MARKDOWN:
        return markup.markdown(line)
    return str(escape(markup.quiet_everywhere(line))) if form is Format.HTML else line


def _body(env: ImmutableSandboxedEnvironment, alert: Alert, form: Format, limit: int) -> str:
    """Return the body with the longest values that fit; values are cut before they are escaped."""
    body = ""
    for value_limit in VALUE_LIMITS:
        body = _render(env, form.template, values(alert, form, value_limit))
        if len(body) <= limit:
            return body
    if form is Format.TEXT:
        return body[:BODY_LIMIT]
    if len(body) > BODY_LIMIT:
        raise _UnusableError(f"it renders {len(body)} characters, more than {BODY_LIMIT}")
    return body


def _cut(line: str, limit: int) -> str:
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _environment(loader: BaseLoader, form: Format) -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=form is Format.HTML,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(env: ImmutableSandboxedEnvironment, name: str, known: dict[str, str]) -> str:
    text = env.get_template(name).render(known).strip()
    if not text:
        raise _UnusableError("it renders nothing")
    return text
