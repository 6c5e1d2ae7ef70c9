"""Looks at the node gpu1 of an inventory, and prints what came of it and what it took (KiB, bytes), as JSON.

A process of its own: the largest child of a process is known over its whole life only.
"""

import json
import re
import resource
import sys
from pathlib import Path

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Mesh, Node, RecoveryKind, Settings
from gpu_mesh.hosts import playbook
from gpu_mesh.planning.addresses import of_ollama

disk: list[int] = []
read_end = playbook._tail


def measured(folder: Path) -> str:
    """Note what the run has written, then read its end."""
    disk.append(sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file()))
    return read_end(folder)


playbook._tail = measured
node = Node("gpu1", "one", "http://127.0.0.1:1", recovery=RecoveryKind.COMMAND, recovery_command="true")
extra = {"gpu_mesh_addresses": of_ollama(node, Mesh((node,)))}
path = playbook.find(Action.RESTART_OLLAMA)
result = playbook.run(path, node, Settings(), (sys.argv[1],), extra=extra, timeout=60)
# Not by getrusage: for itself that counts the memory of whoever started it, too.
own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
largest = max(int(own[1]) if own else 0, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
found = {"success": result.success, "reason": result.reason, "finding": result.finding}
print(json.dumps(found | {"largest": largest, "disk": sum(disk)}))
