"""Prints the id of the first service of an Apprise configuration: print_target_id.py FOLDER."""

import sys
from pathlib import Path

from gpu_mesh.delivery import apprise_config
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.system.paths import Paths

folder = Path(sys.argv[1])
print(apprise_config.load(Paths((), folder, folder, folder), Settings()).targets[0].id)
