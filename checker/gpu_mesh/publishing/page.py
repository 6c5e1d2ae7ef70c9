"""Renders the page: one HTML file without any other, with a policy that lets nothing else run or load.

jinja2 escapes every value. Style and script are part of the page; the browser accepts them by their hashes,
and nothing that a node or a host has named.
"""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpu_mesh.publishing.past import DAYS, INCIDENT_DAYS, Run, date_words
from gpu_mesh.publishing.view import FOLDED, Page, Tone
from gpu_mesh.text.humanize import moment

_FOLDER = Path(__file__).parent / "templates"

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="{}"/>'
    '<path d="{}" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round"/></svg>'
)
_ICONS = {
    Tone.UP: ("#1a7f4b", "M4.5 8.5l2.5 2.5 4.5-5.5"),
    Tone.IMPAIRED: ("#b07800", "M8 4v5M8 12v0"),
    Tone.DOWN: ("#c4302b", "M5 5l6 6M11 5l-6 6"),
    Tone.UNKNOWN: ("#6b7683", "M5 8h6"),
}


def html(page: Page) -> str:
    """Return the page as HTML."""
    env = _environment()
    style, script = (Markup(env.get_template(name).render().strip()) for name in ("page.css", "page.js"))  # noqa: S704 - they are our own files, and take no value
    return env.get_template("page.html.j2").render(
        page=page,
        style=style,
        script=script,
        policy=_policy(style, script),
        icon=_icon(page.headline.tone),
        old_icon=_icon(Tone.UNKNOWN),
        folded=len(page.rows) > FOLDED,
        calm=[row for row in page.rows if row.tone is Tone.UP],
        others=[row for row in page.rows if row.tone is not Tone.UP],
        days=DAYS,
        incident_days=INCIDENT_DAYS,
    )


def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(iso=_iso, moment=moment, date=date_words, path=_path)
    return env


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _icon(tone: Tone) -> str:
    return f"data:image/svg+xml,{quote(_ICON.format(*_ICONS[tone]))}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _path(runs: tuple[Run, ...]) -> str:
    """Return the strokes of a bar's days, each a unit wide."""
    return "".join(f"M{run.first} .5h{run.days}" for run in runs)
