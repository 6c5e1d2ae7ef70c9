"""Draws a badge: the name and the status of a node, or of the mesh, as a small SVG. Pure.

It needs no script, no font and no other file, so that any page can show it.
"""

import unicodedata

from markupsafe import escape

from gpu_mesh.publishing.view import Headline, Tone, tone_of
from gpu_mesh.reporting.node_report import NodeReport
from gpu_mesh.reporting.report import MeshReport
from gpu_mesh.reporting.shown import status_of
from gpu_mesh.text.sanitize import one_line

MARK = "<!-- a badge of gpu-mesh -->"
"""How a badge begins: only such a file is ever removed."""

_FILL = {Tone.UP: "#1a7f4b", Tone.IMPAIRED: "#8a5a00", Tone.DOWN: "#b3261e", Tone.UNKNOWN: "#5a6572"}
_MESH_WORDS = {Tone.UP: "up", Tone.IMPAIRED: "trouble", Tone.DOWN: "down", Tone.UNKNOWN: "unknown"}
_LONGEST = 40  # characters of the name


def of_node(node: NodeReport, mesh: MeshReport) -> str:
    """Return the badge of a node; its status is unknown while nobody watches."""
    words = "unknown" if mesh.stale else status_of(node)
    return _drawn(node.name, words, tone_of(node, mesh))


def of_mesh(headline: Headline) -> str:
    """Return the badge of the whole mesh."""
    return _drawn("GPU mesh", _MESH_WORDS[headline.tone], headline.tone)


def _drawn(name: str, words: str, tone: Tone) -> str:
    name = one_line(name, _LONGEST)
    left, right = _width(name), _width(words)
    label = escape(f"{name}: {words}")
    return (
        f'{MARK}\n<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{label}"><title>{label}</title>'
        f'<clipPath id="c"><rect width="{left + right}" height="20" rx="4"/></clipPath>'
        f'<g clip-path="url(#c)"><path fill="#2d3742" d="M0 0h{left}v20H0z"/>'
        f'<path fill="{_FILL[tone]}" d="M{left} 0h{right}v20H{left}z"/></g>'
        '<g fill="#fff" font-family="system-ui,Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 12}">{escape(name)}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{escape(words)}</text></g></svg>\n'
    )


def _width(text: str) -> int:
    """Return about how many pixels the text takes, with its margins."""
    return 12 + sum(12 if unicodedata.east_asian_width(char) in "WF" else 7 for char in text)
