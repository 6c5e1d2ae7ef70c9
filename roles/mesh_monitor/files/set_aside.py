"""Set aside the state that the program about to be used cannot read, for a newer version wrote it.

Arguments: the state's folder; the schema that the program reads. Prints each new path. Nothing uses the state
meanwhile. A copy that the program can read stays, and it goes on from that.
"""

import json
import sys
import time
from pathlib import Path

folder, readable = Path(sys.argv[1]), int(sys.argv[2])
for name in ("state", "state.previous"):
    path = folder / f"{name}.json"
    try:
        schema = json.loads(path.read_bytes())["schema"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        continue  # nothing is there, or it is damaged, which the program sees for itself
    if isinstance(schema, int) and schema > readable:
        aside = path.with_name(f"{name}.schema-{schema}-{int(time.time())}.json")
        sys.stdout.write(f"{path.rename(aside)}\n")
