"""Writes the incidents as an Atom feed (RFC 4287), which readers and chats can subscribe to. Pure."""

from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from markupsafe import Markup, escape

from gpu_mesh.publishing.view import Page, PastIncident

_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'


def atom(page: Page, monitor: str) -> str:
    """Return the feed; an incident keeps its identity when it ends, so that readers show its end.

    Args:
        page: what is shown.
        monitor: which monitor it is: two monitors must not have feeds of one identity. It is not shown.
    """
    changed = max((each.ended or each.began for each in page.incidents), default=page.made)
    return "".join(
        (
            _HEAD,
            "<title>GPU mesh: incidents</title>\n",
            f"<id>{_identity(monitor)}</id>\n<updated>{_time(changed)}</updated>\n",
            '<author><name>Aurora GPU Mesh</name></author>\n<link href="index.html"/>\n',
            '<link rel="self" href="feed.xml"/>\n',
            *(_entry(each, monitor) for each in page.incidents),
            "</feed>\n",
        )
    )


def _entry(each: PastIncident, monitor: str) -> str:
    over = f"over after {each.lasted}; {each.ending}" if each.ended is not None else "not over yet"
    return (
        f"<entry><title>{escape(each.name)}: {escape(each.cause)}</title>"
        f"<id>{_identity(monitor, each.node, f'{each.began:.3f}')}</id>"
        f"<published>{_time(each.began)}</published><updated>{_time(each.ended or each.began)}</updated>"
        f'<link href="index.html"/><content type="text">{escape(over)}</content></entry>\n'
    )


def _identity(*parts: str) -> Markup:
    return Markup("urn:uuid:{}").format(uuid5(NAMESPACE_URL, "\n".join(("gpu-mesh", *parts))))


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
