"""Runs a command of the monitor that is installed in a folder, as that user with those groups.

run_as.py UID GROUP,GROUP… CONFIG COMMAND…

What the commands need is imported first: the other user may not read where the program is.
"""

import grp  # noqa: F401 - as below
import importlib
import os
import pkgutil
import pwd  # noqa: F401
import re
import sys
from pathlib import Path

import gpu_mesh
from gpu_mesh.cli import common, main
from gpu_mesh.system import paths

SLOW = re.compile(
    r"\.(__main__|demo|hosts|simulat|standin|recovery\.worker|inventory\.ansible_reader|delivery)"
)
for module in pkgutil.walk_packages(gpu_mesh.__path__, "gpu_mesh."):
    if not SLOW.search(module.name):
        importlib.import_module(module.name)
uid, groups, config, command = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
paths.SYSTEM_CONFIG = common.SYSTEM_CONFIG = config
os.environ["GPU_MESH_CONFIG_DIR"] = str(config)
if uid:
    os.setgroups([int(group) for group in groups.split(",")])
    os.setgid(int(groups.split(",")[0]))
    os.setuid(uid)
sys.exit(main.main(command))
