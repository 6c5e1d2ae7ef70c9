"""Plant links as a thief does, who is the user that runs this: root shall not write where they lead.

Argument: how: "files" leads every name to a file of root's that is there, "new" to one that is not, "folders"
to one of root's folders. In every folder that the user may write to, every name becomes a link, and so do
names that are not there yet. Prints each folder.
"""

import os
import shutil
import sys
from pathlib import Path

NAMES = (".ssh", "authorized_keys", "known_hosts", "id_ed25519", "id_ed25519.pub", "apprise.yml", "lent.key")
NEVER = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/lock", "/var/log/journal")
TO = {"files": "/root/here", "new": "/root/not-there", "folders": "/root"}

to = TO[sys.argv[1]]
found = []
for folder, below, _ in os.walk("/"):
    below[:] = [each for each in below if os.path.join(folder, each) not in NEVER]  # noqa: PTH118
    if os.access(folder, os.W_OK | os.X_OK):
        below.clear()  # what is in it becomes a link
        found.append(Path(folder))
for folder in found:
    sys.stdout.write(f"{folder}\n")
    for name in {*NAMES, *os.listdir(folder)}:  # noqa: PTH208 - the names alone
        place = folder / name
        if name == ".ssh" and sys.argv[1] != "folders":
            shutil.rmtree(place, ignore_errors=True)
            place.unlink(missing_ok=True)
            place.mkdir(mode=0o700)
            (place / "authorized_keys").symlink_to(to)
            continue
        if not place.is_symlink() and place.is_dir():  # this order: what a link leads to may be out of sight
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(to)
