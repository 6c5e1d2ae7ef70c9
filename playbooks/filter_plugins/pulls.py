"""Filters for models.yml: which models are missing, and which of them are pulled.

The decisions are the checker's own (gpu_mesh/planning/pulls.py).
"""

import re

_MANIFEST = re.compile(r"^gpu-mesh: manifest (\S+) (.*)$", re.MULTILINE)
_DISK = re.compile(r"^gpu-mesh: free (\d{1,18}) (/.*)$", re.MULTILINE)
_FOLDER = re.compile(r"^gpu-mesh: folder (/.*)$", re.MULTILINE)
_TAGS = re.compile(r"^gpu-mesh: tags (.*)$", re.MULTILINE)
_SIGNS = re.compile(r"[^ -~]")


def missing(printed, expected, registry=""):
    """Return ``refused``, and the ``missing`` models, each with the ``url`` of its manifest.

    Args:
        printed: what the look on the node's host printed.
        expected: the node's expected models.
        registry: the URL of another registry; "": each model's own.
    """
    import msgspec

    return msgspec.to_builtins(_questions(printed, expected, registry))


def planned(printed, expected, manifests, registry=""):
    """Return what to ``pull``, what is ``refused``, and both in words (``said``).

    Args:
        printed: what the look on the node's host printed.
        expected: the node's expected models.
        manifests: what the host printed of the manifests.
        registry: as above.
    """
    import msgspec

    from gpu_mesh.planning import pulls

    asked = _questions(printed, expected, registry)
    known = dict(_MANIFEST.findall("".join(manifests)))
    disk, folder = _DISK.search("".join(printed)), _FOLDER.search("".join(printed))
    free = int(disk[1]) if disk else None
    place = _SIGNS.sub("?", folder[1].strip()[:200]) if folder else ""
    plan = pulls.plan(asked, known, free, place)
    return {**msgspec.to_builtins(plan), "said": pulls.describe(asked, plan)}


def _questions(printed, expected, registry):
    from gpu_mesh.planning import pulls

    tags = _TAGS.search("".join(printed))
    names = None if expected is None else ["".join(name) for name in expected]
    return pulls.questions(names, tags[1] if tags else "", "".join(registry))


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"gpu_mesh_missing": missing, "gpu_mesh_planned": planned}
