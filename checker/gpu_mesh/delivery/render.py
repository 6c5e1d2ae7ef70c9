"""Renders alerts as a title and a body, from the built-in templates or an operator's own. For sender.py.

Everything in an alert may come from a node. So each value becomes one harmless line before a template sees
it (wording.py); it is escaped for the format of the body, and never read as a template. The text of what
happened may quote a node; it cannot mention anybody or make a link. Where an operator's template fails, the
built-in one is used.
"""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape
from msgspec import Struct

from gpu_mesh.delivery import markup
from gpu_mesh.delivery.wording import TITLE_LIMIT, VALUE_LIMITS, Format, Subject, Values
from gpu_mesh.text.sanitize import one_line

BUILT_IN = Path(__file__).parent / "templates"
BODY_LIMIT = 4000


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
    """The templates of messages, loaded once in a run."""

    def __init__(self, folder: str = "") -> None:
        """Take the operator's folder, whose files override the built-in ones of the same name ("": none)."""
        self._folder = Path(folder) if folder else None
        built_in = FileSystemLoader(BUILT_IN)
        both = ChoiceLoader([FileSystemLoader(folder), built_in]) if folder else built_in
        self._built_in = {form: _environment(built_in, form) for form in Format}
        self._own = {form: _environment(both, form) for form in Format}

    def render(self, subject: Subject, form: Format = Format.TEXT, room: int = BODY_LIMIT) -> Rendered:
        """Render a message; an error in an operator's template is reported, not raised.

        Where the operator's folder has a plain body but none in the wanted format, the plain one is used.

        Args:
            subject: what it is about.
            form: the format that the service shows.
            room: the most characters of heading and body together; values are shortened to fit.
        """
        form = self._written(subject, form)
        problems = (
            []
            if self._folder is None or self._folder.is_dir()
            else [f"{self._folder}: there is no such folder of alert templates; the built-in ones are used"]
        )
        of_title, of_body = f"{subject.kind}_title.txt.j2", _body_template(subject, form)
        title, heading = self._try(of_title, problems, lambda envs: _title(envs, of_title, subject, form))
        limit = min(BODY_LIMIT, room - len(heading))
        body = self._try(of_body, problems, lambda envs: _body(envs[form], of_body, subject, form, limit))
        return Rendered(Message(title, body, form, heading), tuple(problems))

    def _written(self, subject: Subject, form: Format) -> Format:
        if self._folder is None or (self._folder / _body_template(subject, form)).exists():
            return form
        return Format.TEXT if (self._folder / _body_template(subject, Format.TEXT)).exists() else form

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


def _body_template(subject: Subject, form: Format) -> str:
    return f"{subject.kind}_body.{form.value}.j2"


def _title(envs: _Environments, name: str, subject: Subject, form: Format) -> tuple[str, str]:
    """Return the title in plain text and in the format of the body, with the same words."""
    title = ""
    for plain, formatted in zip(subject.titles(Format.TEXT), subject.titles(form), strict=True):
        title = _line(envs[Format.TEXT], name, plain)
        if len(title) <= TITLE_LIMIT:
            return title, title if form is Format.TEXT else _line(envs[form], name, formatted)
    title = _cut(title, TITLE_LIMIT)
    return title, _literal(title, form)


def _line(env: ImmutableSandboxedEnvironment, name: str, known: Values) -> str:
    return " ".join(_render(env, name, known).split())


def _literal(line: str, form: Format) -> str:
    if form is Format.MARKDOWN:
        return markup.markdown(line)
    return str(escape(markup.quiet_everywhere(line))) if form is Format.HTML else line


def _body(env: ImmutableSandboxedEnvironment, name: str, subject: Subject, form: Format, limit: int) -> str:
    """Return the body with the longest values that fit; values are cut before they are escaped."""
    body = ""
    for known in subject.bodies(form):
        body = _render(env, name, known)
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


def _render(env: ImmutableSandboxedEnvironment, name: str, known: Values) -> str:
    text = env.get_template(name).render(known).strip()
    if not text:
        raise _UnusableError("it renders nothing")
    return text
