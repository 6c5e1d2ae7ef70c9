"""Decides which tags of a URL no alert about a node can have, and which were meant. Pure."""

from collections.abc import Iterable, Sequence

from gpu_mesh.alerting.alerts import tags_of
from gpu_mesh.delivery.outbox import LEVEL_TAGS, Target, wants
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.mesh import Node
from gpu_mesh.text.suggest import nearest

_SLIP = 0.8
"""How similar a word is to a level that was misspelt: critcal, warnign; not err."""


def unknown(target: Target, groups: Iterable[str], nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return what to say of each tag of a URL that is no level, and no node's tag, group or key.

    Args:
        target: the URL.
        groups: the names of Apprise's own groups, which it adds to a URL's tags.
        nodes: of the mesh; none where they are not known: then only what looks like a level is told.
    """
    known = {tag.lower() for node in nodes for tag in tags_of(node)} | set(groups)
    said = []
    for tag in sorted(target.tags - LEVEL_TAGS - known):
        level = nearest(tag, LEVEL_TAGS, similar=_SLIP)
        meant = level or nearest(tag, known)
        question = f"; did you mean {meant}?" if meant else ""
        if nodes or level:
            said.append(f"its tag {tag} is neither a level nor a node's tag, group or key{question}")
    return tuple(said)


def by_level(targets: Iterable[Target], nodes: Sequence[Node]) -> str:
    """Say to how many URLs alerts of each level go: ``critical to 2, error to 1, warning to 1, info to 0``.

    Args:
        targets: the URLs.
        nodes: of the mesh; none where they are not known: then tags of nodes choose nothing.
    """
    urls = tuple(targets)
    counts = (
        (
            level,
            sum(is_for_a_node(url, level, nodes) if nodes else wants(url.tags, level, ()) for url in urls),
        )
        for level in reversed(Level)
    )
    return ", ".join(f"{level} to {number}" for level, number in counts)


def is_for_a_node(target: Target, level: Level, nodes: Iterable[Node]) -> bool:
    """Return whether an alert of this level about some node would go to the URL."""
    return any(wants(target.tags, level, tags_of(node)) for node in nodes)
