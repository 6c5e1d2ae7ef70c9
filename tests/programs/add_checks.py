"""Adds checks to a node's state, one after the other, and tells of each that is saved.

add_checks.py FOLDER TIMES
"""

import sys
from pathlib import Path

from msgspec.structs import replace

from gpu_mesh.domain.state import NodeState
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log

file = StateFile(Path(sys.argv[1]), Log(Path(sys.argv[1], "log")))
for turn in range(int(sys.argv[2])):
    with file.update(1.0) as state:
        node = state.nodes.get("n", NodeState())
        statistics = replace(node.statistics, checks=node.statistics.checks + 1)
        state.nodes["n"] = replace(node, statistics=statistics)
    print(turn + 1, flush=True)
