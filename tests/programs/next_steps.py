"""Print each next step of each node as a person reads it on this installed monitor: JSON, node and text."""

import json
import os
import sys

from gpu_mesh.cli import common, main
from gpu_mesh.domain.causes import Cause
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.planning import advice
from gpu_mesh.system import paths
from gpu_mesh.text.commands import typed

arguments = main.parser().parse_args(["status"])
arguments.as_root = False
folders = paths.find(os.environ, as_root=True)
shell = common.shell(arguments, folders)
steps = {
    (node.key, typed(advice.step_after(node, finding, cause), shell))
    for node in common.mesh_of(arguments, folders).nodes
    for cause in Cause
    for finding in Finding
    if node.tunnel or not cause.startswith("tunnel")
}
json.dump(sorted(steps), sys.stdout)
