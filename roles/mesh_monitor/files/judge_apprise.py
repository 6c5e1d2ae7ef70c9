"""Judge an Apprise configuration, the only argument, as the checker reads it; its words hold no secret."""

import sys
from pathlib import Path

from gpu_mesh.delivery import apprise_config
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.system.paths import Paths

here = Path(sys.argv[1])
found = apprise_config.load(
    Paths(inventory=(), config=here.parent, state=here.parent, log=here.parent),
    Settings(apprise_config=str(here)),
)
for line in found.problems:
    sys.stderr.write(f"{line}\n")
sys.exit(2 if found.problems else 0)
