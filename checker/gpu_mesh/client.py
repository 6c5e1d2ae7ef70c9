"""Names the node to send work to, for programs. It needs the standard library alone, and about a millisecond.

``gpu-mesh publish`` writes ``best.json`` after each change, and this reads it. Nothing is asked of any node.
"""

import json
import os
import time
from typing import NamedTuple

from gpu_mesh.domain.model_name import canonical

FILE = "/var/lib/gpu-mesh/www/best.json"
"""Where an installed monitor writes it; GPU_MESH_BEST names another place."""


class Stale(Exception):  # noqa: N818 - it is no error of the program's
    """Nobody watches the mesh any more: what was best then may be down now."""


class NoNode(Exception):  # noqa: N818
    """No node fits; ``why`` says so in words."""

    def __init__(self, why: str) -> None:
        """Take why."""
        super().__init__(why)
        self.why = why


class Best(NamedTuple):
    """The node to use."""

    node: str  # its name in the inventory
    url: str  # of its Ollama
    loaded: float | None  # the share of the model in VRAM, 0 to 1; None: it is not in memory
    free_vram: int | None  # bytes; None: not known


def best(model: str = "", *, file: str = "", now: float | None = None) -> Best:
    """Return the node to use.

    Args:
        model: spelt as Ollama accepts it; "": any model will do.
        file: where ``best.json`` is; "": where GPU_MESH_BEST says, or FILE.
        now: Unix seconds; None: what the clock says.

    Raises:
        Stale: the file is out of date.
        NoNode: no node fits.
        OSError: the file cannot be read.
        ValueError: it is no such file.
    """
    path = file or os.environ.get("GPU_MESH_BEST") or FILE
    with open(path, encoding="utf-8") as opened:  # noqa: PTH123 - pathlib takes longer to import than all the rest
        found = json.load(opened)
    try:
        late = (time.time() if now is None else now) - found["stale_after"]
        choices = found["models"].get(canonical(model), []) if model else found["any"]
        # By their names: a newer gpu-mesh may have written more of them.
        first = [Best(*(each[name] for name in Best._fields)) for each in choices[:1]]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no best.json of gpu-mesh") from error
    if late > 0:
        raise Stale(f"nobody has checked the mesh lately: what is known is {late:.0f} s out of date")
    if not first:
        raise NoNode(f"no node serves and has the model {model}" if model else "no node serves")
    return first[0]
