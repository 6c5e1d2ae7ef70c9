"""Becomes the owner of a folder, as a command of root's does, and prints who that is.

become_owner.py FOLDER
"""

import os
import sys
from pathlib import Path

from gpu_mesh.cli import main as cli

cli.become_owner(Path(sys.argv[1]))
print(os.getuid(), os.getgid(), os.getgroups(), os.environ["HOME"])
