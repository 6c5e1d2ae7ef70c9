"""Makes the README's pictures: what page, ``status`` and ``top`` show of a made-up mesh, by the real code.

Usage: PYTHONPATH=tests python tests/programs/make_pictures.py FOLDER

It needs Chromium, DejaVu Sans Mono and a font with coloured signs (on Debian: chromium, fonts-dejavu-core,
fonts-noto-color-emoji).
"""

import html
import re
import sys
import tempfile
from pathlib import Path

import browser
import live_mesh
import pages
from factories import NOW
from gpu_mesh.domain.history import EventKind, PastEvent
from gpu_mesh.publishing import page, view
from gpu_mesh.reporting.live import frame
from gpu_mesh.reporting.live_view import View
from gpu_mesh.reporting.status import Look, status_text
from gpu_mesh.text.paint import Paint

WIDTH, PAGE_WIDTH = 110, 1000  # cells of a terminal, pixels of the page
_STYLES = {"1": "font-weight:bold", "2": "color:#8b949e", "7": "background:#c9d1d9;color:#0d1117"}
_STYLES |= {"32": "color:#3fb950", "33": "color:#d29922", "31;1": "color:#f85149;font-weight:bold"}
_TERMINAL = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0d1117 }}
pre {{ margin: 0; padding: 18px 22px; color: #c9d1d9; display: inline-block;
  font: 14px/1.4 "DejaVu Sans Mono", "Noto Color Emoji", monospace }}
</style><pre>{}</pre>"""
EVENTS = (
    PastEvent(NOW - 7500, EventKind.ALERT, "gpu1", "🚨 [CRITICAL] Iceland: A GPU has fallen off the bus"),
    PastEvent(NOW - 7300, EventKind.REPAIR, "gpu1", "a repair was not tried: no restart helps there"),
    PastEvent(NOW - 900, EventKind.ALERT, "gpu2", "⚠️ [WARNING] Desk: degraded: A model runs on the CPU"),
)


def as_html(text: str) -> str:
    """Return what a terminal shows of a text with colours, as HTML."""
    parts = re.split(r"\x1b\[([0-9;]*)m", text)
    made = [html.escape(parts[0])]
    for code, words in zip(parts[1::2], parts[2::2], strict=True):
        made.append(f'<span style="{_STYLES.get(code, "")}">{html.escape(words)}</span>')
    return _TERMINAL.format("".join(made))


def main() -> int:
    """Make the pictures."""
    folder = Path(sys.argv[1])
    paint = Paint(on=True)
    mesh, past = pages.mesh(4, pages.IN_TROUBLE), pages.past(4)
    on = live_mesh.screen(live_mesh.report_of(30), WIDTH, 24)
    top = "\n".join("".join(paint(part.text, part.style) for part in line) for line in frame(on, View()))
    status = status_text(mesh, EVENTS, Look(width=WIDTH, paint=paint))
    shown = {
        "status": as_html(f"$ gpu-mesh status\n{status}\n"),
        "top": as_html(top),
        "page": page.html(view.page(mesh, past)),
    }
    with browser.Browser() as chromium, tempfile.TemporaryDirectory() as pages_of:
        for name, text in shown.items():
            file = Path(pages_of, f"{name}.html")
            file.write_text(text, encoding="utf-8")
            for dark in (False, True) if name == "page" else (False,):
                tab = chromium.open(file, width=PAGE_WIDTH, dark=dark, now=NOW + 5)
                part = "" if name == "page" else "pre"
                tab.picture(folder / f"{name}{'-dark' if dark else ''}.png", part)
                tab.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
