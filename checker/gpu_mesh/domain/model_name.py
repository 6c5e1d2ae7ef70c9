"""How Ollama reads a model's name. Values only.

A name is ``[HOST/][NAMESPACE/]MODEL[:TAG]``; what is left out is ``registry.ollama.ai``, ``library`` and
``latest``, and two names that differ only in case are the same (types/model/name.go of Ollama 0.12).
"""

from functools import lru_cache

LONGEST = 350 + 3 * 80 + 3
"""Characters: a host of 350, three parts of 80, and what separates them."""

_DEFAULT_HOST, _DEFAULT_NAMESPACE, _DEFAULT_TAG = "registry.ollama.ai/", "library/", "latest"


@lru_cache(4096)  # a mesh has few names, and each check asks for them again and again
def canonical(name: str) -> str:
    """Return the one spelling of a model's name: that of ``library/Llama3.2`` is ``llama3.2:latest``."""
    whole = name.strip().lower().removeprefix(_DEFAULT_HOST).removeprefix(_DEFAULT_NAMESPACE)
    _, colon, _ = whole.rpartition("/")[2].partition(":")
    return whole if colon else f"{whole}:{_DEFAULT_TAG}"
