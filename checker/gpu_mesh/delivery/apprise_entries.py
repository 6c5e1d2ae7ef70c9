"""Splits an Apprise configuration, YAML or text, into entries with their lines. For apprise_config.py. Pure.

Apprise decides whether an entry is right. A problem reported here never quotes the file: it contains secrets.
"""

import re

import yaml
from msgspec import Struct

from gpu_mesh.delivery import secret_file
from gpu_mesh.delivery.secret_file import Problem

_TOP_KEYS = frozenset({"version", "asset", "tag", "tags", "groups", "urls", "include", "template"})
_NO_TEMPLATE = "template is not supported: write the values into the URLs themselves"
_NO_INCLUDE = "include is not supported: put the URLs into this file"


class Entry(Struct, frozen=True):
    """One URL with its options."""

    line: int
    content: str  # a configuration that holds this entry alone
    raw: object  # the URL, or a mapping of it and its options
    yaml: bool


def from_text(text: str) -> tuple[list[Entry], list[Problem]]:
    """Split a text configuration: one URL on each line, with or without ``tags=`` before it."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and line[0] not in "#;"]
    problems = [(number, _NO_INCLUDE) for number, line in lines if line.lower().startswith("include")]
    groups = [line for _, line in lines if "=" in line and "://" not in line]
    entries = [
        Entry(number, "\n".join([*groups, line]), re.sub(r"^[^:/]*=\s*", "", line), yaml=False)
        for number, line in lines
        if "://" in line and not line.lower().startswith("include")
    ]
    problems += [
        (number, "neither a URL (schema://...) nor a group (name=tag,tag)")
        for number, line in lines
        if "://" not in line and "=" not in line and not line.lower().startswith("include")
    ]
    return entries, problems


def from_yaml(text: str) -> tuple[list[Entry], list[Problem]]:
    """Split a YAML configuration: one entry for each item of ``urls``, and of a list below a URL."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        whole = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return [], [secret_file.of_yaml(error)]
    if whole is None:
        return [], []
    if not isinstance(whole, dict) or not isinstance(root, yaml.MappingNode):
        return [], [(1, "not an Apprise configuration: expected a mapping with the key urls")]
    problems: list[Problem] = []
    line_of = {
        key.value: key.start_mark.line + 1 for key, _ in root.value if isinstance(key, yaml.ScalarNode)
    }
    for key in whole:
        if key not in _TOP_KEYS:
            shown = key if isinstance(key, str) and re.fullmatch(r"[A-Za-z_-]{1,20}", key) else "***"
            problems.append(
                (line_of.get(str(key), 1), f"unknown key {shown} (URLs stand in a list under urls)")
            )
    if "include" in whole:
        problems.append((line_of["include"], _NO_INCLUDE))
    if "template" in whole:
        problems.append((line_of["template"], _NO_TEMPLATE))
    urls = whole.get("urls")
    nodes = next((value for key, value in root.value if key.value == "urls"), None)
    if urls is None:
        return [], problems
    if not isinstance(urls, list) or not isinstance(nodes, yaml.SequenceNode):
        return [], [*problems, (line_of["urls"], "urls is not a list")]
    shared = {key: value for key, value in whole.items() if key not in {"urls", "include", "template"}}
    entries = [
        Entry(node.start_mark.line + 1, yaml.safe_dump({**shared, "urls": [single]}), single, yaml=True)
        for item, node in zip(urls, nodes.value, strict=True)
        for single in _singles(item)
    ]
    return entries, problems


def groups(text: str, *, is_yaml: bool) -> dict[str, frozenset[str]]:
    """Return the groups of a configuration, each with its members, those of groups within it included.

    Apprise gives a URL that has a member's tag the group's name as one more tag.
    """
    raw: list[tuple[object, object]] = []
    if is_yaml:
        whole = yaml.safe_load(text)
        given = whole.get("groups") if isinstance(whole, dict) else None
        for part in given if isinstance(given, list) else [given]:
            raw += part.items() if isinstance(part, dict) else ()
    else:
        lines = (line.strip() for line in text.splitlines())
        raw = [
            (line.partition("=")[0], line.partition("=")[2])
            for line in lines
            if "=" in line and "://" not in line and line[0] not in "#;"
        ]
    known: dict[str, frozenset[str]] = {}
    for name, members in raw:
        for each in _tags(name):
            known[each] = known.get(each, frozenset()) | _tags(members)
    for _ in range(len(known)):  # a group may be a member of another one
        known = {name: _without_groups(members, known) for name, members in known.items()}
    return known


def _without_groups(members: frozenset[str], known: dict[str, frozenset[str]]) -> frozenset[str]:
    """Return members with each group among them replaced by its own members."""
    return members.difference(known).union(*(known[each] for each in members if each in known))


def _tags(value: object) -> frozenset[str]:
    """Return the tags of a text such as ``a, b``, or of a list of them, in lower case."""
    parts = value if isinstance(value, list) else [value]
    return frozenset(tag.lower() for part in parts for tag in re.split(r"[\s,]+", str(part or "")) if tag)


def names_nobody(text: str) -> bool:
    """Return whether a YAML configuration that ``from_yaml`` has read has an empty ``urls`` on purpose."""
    whole = yaml.safe_load(text)
    return isinstance(whole, dict) and whole.get("urls") == []


def _singles(item: object) -> list[object]:
    """Return an entry as entries of one URL each: a list below a URL means several."""
    if isinstance(item, dict):
        for key, value in item.items():
            if isinstance(key, str) and "://" in key and isinstance(value, list) and value:
                return [{**item, key: [single]} for single in value]
    return [item]
