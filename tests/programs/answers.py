"""Stands in the place of systemctl or journalctl: notes what it is asked, and says what a test wants.

The answer is in the file NAME.answer beside it; without one it fails.
"""

import json
import sys
from pathlib import Path

name = Path(sys.argv[0])
with (name.parent / "asked").open("a") as file:
    file.write(json.dumps([name.name, *sys.argv[1:]]) + "\n")
answer = name.parent / f"{name.name}.answer"
if not answer.exists():
    sys.exit(1)
sys.stdout.write(answer.read_text())
