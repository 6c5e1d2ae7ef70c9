"""Reckons how full the memory of a node's GPUs is. Pure; sizes are bytes."""

from gpu_mesh.reporting.node_report import LoadedModelReport, NodeReport

GIB = 2**30


def used(node: NodeReport) -> int:
    """Return the memory in use: what the loaded models hold, or what a fresh look saw, if that is more."""
    if not node.answers:
        return 0
    held = sum(model.size_vram or 0 for model in node.loaded_models)
    if node.gpu is None or node.gpu.outdated:
        return held
    return max(held, sum(card.memory_used or 0 for card in node.gpu.cards))


def total(node: NodeReport) -> int | None:
    """Return the memory of all its cards; None: nobody has looked, or it is not told."""
    found = sum(card.memory_total or 0 for card in node.gpu.cards) if node.gpu else 0
    return found or None


def share(node: NodeReport) -> float | None:
    """Return the part in use, from 0 to 1; None: the node does not answer, or the whole is not known."""
    whole = total(node)
    return min(1.0, used(node) / whole) if whole and node.answers else None


def on_cpu(model: LoadedModelReport) -> float | None:
    """Return the part of a model that the CPU computes, from 0 to 1; None: Ollama did not say."""
    if not model.size or model.size_vram is None:
        return None
    return 1.0 - min(1.0, model.size_vram / model.size)


def gib(size: int) -> str:
    """Return a size in words: ``18.2 GiB``."""
    return f"{size / GIB:.1f} GiB"
