"""Recovers the nodes of a mesh that is given as JSON: recover.py INVENTORY STATE MESH."""

import sys

import msgspec

from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.recovery import worker
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system import paths
from gpu_mesh.system.log import Log

inventory, state, mesh = sys.argv[1:]
found = paths.find({}, (inventory,), state, as_root=False)
log = Log(found.log_file)
decoded = msgspec.json.decode(mesh, type=Mesh)
sys.exit(worker.recover(worker.Context(found, decoded, StateFile(found.state, log), log)))
