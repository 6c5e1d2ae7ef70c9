"""Loads a mesh that is in the cache, and prints what was loaded for that of all that it must do without.

load_cached_mesh.py INVENTORY FOLDER NOW
"""

import sys
from pathlib import Path

from gpu_mesh.inventory import cache
from gpu_mesh.system.paths import Paths

inventory, folder, now = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
mesh = cache.load(Paths((inventory,), folder, folder / "state", folder / "log"), None, now)
assert not mesh.fresh
print(*{"ansible", "yaml", "jinja2", "subprocess", "difflib"} & {*sys.modules})
