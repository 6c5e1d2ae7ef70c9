"""Finds where a YAML inventory does not have the shape of one; for ansible_reader.py, if Ansible fails.

Ansible names neither the line nor the way out. Nothing here repeats a value: it may be a password.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from gpu_mesh.inventory.mistakes import Mistake

_PARTS = ("hosts", "children", "vars")
_IS_A_LIST = "leave out the hyphens, and end each line with a colon"
_INDENTED = "is it indented too little or too much?"


def mistakes(file: Path) -> tuple[Mistake, ...]:
    """Return where the file's structure is wrong; none where it is right, or is no YAML at all."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return ()
    if root is None:
        return ()
    found = _groups(root, "an inventory", "groups")
    return tuple(
        Mistake(words, place=f"{file.absolute()}:{node.start_mark.line + 1}") for node, words in found
    )


def _groups(node: yaml.Node, what: str, of: str) -> Iterator[tuple[yaml.Node, str]]:
    if not isinstance(node, yaml.MappingNode):
        yield node, f"{what} must be a mapping of {of}{_hint(node)}"
        return
    for key, value in node.value:
        yield from _group(str(key.value), value)


def _group(name: str, node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    if _is_empty(node):
        return
    if not isinstance(node, yaml.MappingNode):
        yield node, f"the group {name} must be a mapping of {', '.join(_PARTS)}{_hint(node)}"
        return
    for key, value in node.value:
        part = str(key.value)
        if part == "children" and not _is_empty(value):
            yield from _groups(value, f"children of {name}", "groups")
        elif part in ("hosts", "vars") and not _is_empty(value):
            yield from _part(name, part, value)


def _part(group: str, part: str, node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    if not isinstance(node, yaml.MappingNode):
        if part == "vars" or not _is_text(node):  # Ansible takes one name alone for that host
            of = "hosts, each name with a colon after it" if part == "hosts" else "variables"
            yield node, f"{part} of {group} must be a mapping of {of}{_hint(node)}"
        return
    for key, value in node.value if part == "hosts" else ():
        if isinstance(value, yaml.MappingNode) or _is_empty(value):
            continue
        name = str(key.value)
        if name.startswith(("ansible_", "mesh_")):
            yield value, f"{name} stands where a host is expected: indent it below its host"
        else:
            yield value, f"the host {name} must be a mapping of variables: {_INDENTED}"


def _hint(node: yaml.Node) -> str:
    return f": {_IS_A_LIST if isinstance(node, yaml.SequenceNode) else _INDENTED}"


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
