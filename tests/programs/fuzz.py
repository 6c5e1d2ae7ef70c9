"""Fuzz one target of tests/fuzzed.py with atheris; the other words are libFuzzer's options and folders."""

import sys

import atheris

with atheris.instrument_imports(include=["gpu_mesh", "http.client", "urllib3"]):
    from fuzzed import TARGETS, mutated


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Return the bytes otherwise: often by a value of their JSON, for few other changes leave it JSON."""
    changed = mutated(data, seed)
    return changed if changed and len(changed) <= most else atheris.Mutate(data, most)


name, *words = sys.argv[1:]
atheris.Setup([sys.argv[0], *words], TARGETS[name], custom_mutator=mutate)
atheris.Fuzz()
