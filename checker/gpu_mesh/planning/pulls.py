"""Decides which missing models are pulled onto a node, and why others are not. Pure.

For playbooks/models.yml. A pull fills a disk, and may take hours of a line. So nothing is pulled whose size
or whose place on the disk is not known; and nothing at all onto a node without any model: a mount that is
lost, or an Ollama that runs as another user, looks exactly so, and a pull would fill the disk below it.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from gpu_mesh.domain.model_name import canonical
from gpu_mesh.text.humanize import plural

KEPT_FREE = 2**30
"""Bytes of the disk that a pull must leave."""

_GIB = 2**30
_REGISTRY = "https://registry.ollama.ai"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(
    rf"(?:(?P<host>{_PART}(?:\.{_PART})+)/)?(?:(?P<space>{_PART})/)?(?P<model>{_PART})(?::(?P<tag>{_PART}))?"
)


class Question(Struct, frozen=True):
    """A missing model, and where its manifest is, which names its size."""

    model: str
    url: str  # "": the name is not one that a registry has


class Questions(Struct, frozen=True):
    """What must be asked before anything is pulled; ``refused`` says why nothing is."""

    missing: tuple[Question, ...] = ()
    refused: str = ""


class Pull(Struct, frozen=True):
    """A model to pull, with its size in bytes."""

    model: str
    size: int


class Plan(Struct, frozen=True):
    """What is pulled, in this order, and why other models are not."""

    pull: tuple[Pull, ...] = ()
    refused: tuple[str, ...] = ()


class _Model(Struct):
    name: str | None = None
    model: str | None = None


class _Tags(Struct):
    models: list[_Model] | None


class _Layer(Struct):
    size: int


class _Manifest(Struct):
    layers: list[_Layer]
    config: _Layer


def questions(expected: Sequence[str] | None, tags: str, registry: str = "") -> Questions:
    """Return which expected models are missing.

    Args:
        expected: the node's ``mesh_node_expected_models``; None: not given.
        tags: what Ollama on the node's own host answered to ``GET /api/tags``.
        registry: the URL of a registry in the place of Ollama's own; "": that.
    """
    if not expected:
        return Questions(refused="mesh_node_expected_models names no model, so none is missing")
    try:
        listed = msgspec.json.decode(tags, type=_Tags).models or []
    except msgspec.MsgspecError:
        return Questions(refused="Ollama does not list its models on its own host; nothing is pulled")
    have = {canonical(each.name or each.model or "") for each in listed}
    missing = [name for name in dict.fromkeys(expected) if canonical(name) not in have]
    if missing and not listed:
        return Questions(
            refused="Ollama has no model at all. A mount that is lost, or an Ollama that runs as another "
            "user, looks so; nothing is pulled. See where its models are (OLLAMA_MODELS); if it is new, pull "
            f"the first one by hand there: ollama pull {missing[0]}"
        )
    return Questions(tuple(Question(name, manifest_url(name, registry)) for name in missing))


def manifest_url(name: str, registry: str = "") -> str:
    """Return where a registry has the manifest of a model; "": a registry has no such name."""
    found = _NAME.fullmatch(name.strip())
    if not found:
        return ""
    base = registry or (f"https://{found['host']}" if found["host"] else _REGISTRY)
    return f"{base}/v2/{found['space'] or 'library'}/{found['model']}/manifests/{found['tag'] or 'latest'}"


def size_of(manifest: str) -> int | None:
    """Return the bytes that a model takes, as its manifest says; None: it does not."""
    try:
        found = msgspec.json.decode(manifest, type=_Manifest)
    except msgspec.MsgspecError:
        return None
    sizes = [found.config.size, *(layer.size for layer in found.layers)]
    return sum(sizes) if found.layers and min(sizes) >= 0 else None


def plan(asked: Questions, manifests: Mapping[str, str], free: int | None, folder: str) -> Plan:
    """Return what is pulled: what fits, each with the room that those before it leave.

    Args:
        asked: the missing models.
        manifests: what the registry answered, by model.
        free: bytes that are free where Ollama keeps its models; None: not known.
        folder: that place; "": not known.
    """
    pull: list[Pull] = []
    refused = []
    if free is None and asked.missing:
        where = f"how much of the disk is free at {folder}" if folder else "where Ollama keeps its models"
        names = ", ".join(each.model for each in asked.missing)
        return Plan(
            refused=(f"{names}: {where} is not known; name the folder with -e gpu_mesh_models_folder=PATH",)
        )
    left = free or 0
    for each in asked.missing:
        size = size_of(manifests.get(each.model, ""))
        if not each.url:
            refused.append(f"{each.model}: no registry has such a name")
        elif size is None:
            refused.append(
                f"{each.model}: its size is not known, for its registry does not tell it ({each.url})"
            )
        elif size + KEPT_FREE > left:
            room = f"{in_gib(left)} {'would be' if pull else 'is'} free at {folder}"
            refused.append(
                f"{each.model}: it takes {in_gib(size)}, and {in_gib(KEPT_FREE)} must stay free, but {room}"
            )
        else:
            pull.append(Pull(each.model, size))
            left -= size
    return Plan(tuple(pull), tuple(refused))


def in_gib(size: float) -> str:
    """Return bytes in words: ``1.9 GiB``."""
    return f"{size / _GIB:.1f} GiB"


def describe(asked: Questions, planned: Plan) -> str:
    """Return in one line what will be done about a node."""
    if asked.refused:
        return asked.refused
    if not asked.missing:
        return "all expected models are there"
    listed = ", ".join(f"{each.model} ({in_gib(each.size)})" for each in planned.pull)
    doing = f"pulling {listed}" if listed else "none is pulled"
    return f"{plural(len(asked.missing), 'model')} missing; {doing}"
