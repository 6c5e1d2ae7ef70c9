"""Judge an Apprise configuration, the only argument, as the checker reads it; its words hold no secret."""

import sys
from pathlib import Path

from gpu_mesh import appriseconfig
from gpu_mesh.mesh import Settings
from gpu_mesh.paths import Paths

here = Path(sys.argv[1])
found = appriseconfig.load(
    Paths(inventory=(), config=here.parent, state=here.parent, log=here.parent),
    Settings(apprise_config=str(here)),
)
for line in found.problems:
    sys.stderr.write(f"{line}\n")
sys.exit(2 if found.problems else 0)
