"""Puts into words who can reach the mesh's Ollamas, and which versions they have. Pure."""

from gpu_mesh.diagnosis.exposure import Answers, Exposure, Seen
from gpu_mesh.text.humanize import plural
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.table import aligned

_LONGEST = 100
_WORDS = {
    Answers.SOME: "asks for a login",
    Answers.OTHER: "something else answers",
    Answers.NOBODY: "does not answer",
}


def exposure_text(found: Exposure) -> str:
    """Return what was found, as text for a person: first the doors, then what is wrong, and what to do."""
    lines = aligned([(each.door.node, each.door.url, _said(each)) for each in found.seen])
    if not found.seen:
        lines.append("No node has a public address.")
    for each in found.open:
        node, url = each.door.node, each.door.url
        lines.append("")
        lines.append(
            f"EXPOSED: {node} answers at {url}, a public address, without a login: whoever reaches it may "
            "use its GPU, and load and delete models."
        )
        lines.append(
            f"  next: have Ollama on {node} listen on 127.0.0.1 alone (OLLAMA_HOST) and reach it through a "
            "tunnel, or put a proxy with a login in front of it (docs/security.md)"
        )
    if found.open:
        lines += [
            "",
            "This machine asked. A firewall may let it through and keep strangers out: try from elsewhere.",
        ]
    lines += ["", *_versions(found)]
    return "".join(f"{line}\n" for line in lines)


def _said(each: Seen) -> str:
    if each.answers is Answers.ALL:
        return f"ANSWERS WITHOUT A LOGIN, {plural(each.models, 'model')}"
    detail = one_line(each.detail, _LONGEST)
    return f"{_WORDS[each.answers]}{f' ({detail})' if detail else ''}"


def _versions(found: Exposure) -> list[str]:
    lines = []
    if len(found.versions) > 1:
        listed = "; ".join(f"{version}: {', '.join(keys)}" for version, keys in found.versions.items())
        lines = [
            f"VERSIONS DIFFER: {listed}",
            f"  next: update Ollama on {', '.join(_behind(found))}, or take the difference for what it is",
        ]
    elif found.versions:
        lines = [f"Ollama {next(iter(found.versions))} everywhere."]
    if found.silent:
        lines.append(f"No version is known of {', '.join(found.silent)}.")
    return lines


def _behind(found: Exposure) -> list[str]:
    return [key for keys in list(found.versions.values())[1:] for key in keys]
