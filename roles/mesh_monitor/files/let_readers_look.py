"""Give what is in the folders of state and log already the group and the modes that new files get there.

Arguments: the readers' group, the folders. Prints each change. The folders have that group already, and
what is new inherits it. What an earlier version left, or somebody made under another umask, is put right
here: state and log are for the readers; locks and sub-folders are not, nor is the inventory's cache where
it once was.

The folders are the monitor's user's, and this runs as root: no link is followed, and nothing is touched that
is somebody else's.
"""

import grp
import os
import stat
import sys
from pathlib import Path

group = grp.getgrnam(sys.argv[1]).gr_gid
folders = [Path(folder) for folder in sys.argv[2:]]


def put_right(path: Path, file: int, seen: os.stat_result, folder: int) -> None:
    """Put one file or sub-folder right; ``file`` and ``folder`` are open."""
    mode, right = stat.S_IMODE(seen.st_mode), 0o640
    if stat.S_ISDIR(seen.st_mode):
        mode, right = mode & 0o777, 0o700
    elif not stat.S_ISREG(seen.st_mode):
        return
    elif path.match("mesh-*.json"):
        os.unlink(path.name, dir_fd=folder)
        sys.stdout.write(f"{path} removed\n")
        return
    elif path.suffix == ".lock":
        right = 0o600
    elif path.suffix != ".json" and not path.name.startswith("gpu-mesh.log"):
        return
    elif seen.st_gid != group:
        os.fchown(file, -1, group)
        sys.stdout.write(f"{path} is the readers'\n")
    if mode != right:
        os.fchmod(file, right)
        sys.stdout.write(f"{path} {mode:04o} {right:04o}\n")


for each in folders:
    here = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
    owner = os.fstat(here).st_uid
    for name in sorted(os.listdir(here)):  # noqa: PTH208 - of the folder that was opened, whatever is there by now
        if each / name in folders:
            continue
        try:
            opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        except OSError:  # a link, or gone meanwhile
            continue
        known = os.fstat(opened)
        if known.st_uid == owner:
            put_right(each / name, opened, known, here)
        os.close(opened)
    os.close(here)
