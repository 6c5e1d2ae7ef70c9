"""Put the new program and the new inventory in place of the old ones, each in one step.

Arguments: the program's new environment, or ""; the inventory's folder, or "". The link "venv" beside the
environment then leads to it; the one that it led to stays, for what still runs there and for the way back.
INVENTORY.new is exchanged with INVENTORY, and what was there stays as INVENTORY.old.
"""

import ctypes
import os
import shutil
import sys
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2
libc = ctypes.CDLL(None, use_errno=True)


def put_in_place(new: Path, here: Path) -> None:
    """Let both names change their meaning at once; afterwards ``new`` is what was here, if anything."""
    if not os.path.lexists(here):
        new.rename(here)
    elif libc.renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(here), RENAME_EXCHANGE):
        sys.exit(f"{here}: {os.strerror(ctypes.get_errno())}")


def remove(path: Path) -> None:
    """Remove a folder, or a link, or nothing."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


# The program first: it has checked this inventory, and the old one may not know every variable in it.
if sys.argv[1]:
    environment = Path(sys.argv[1])
    link = environment.with_name("venv.new")
    remove(link)
    link.symlink_to(environment.name)
    put_in_place(link, environment.with_name("venv"))
    remove(link)
if sys.argv[2]:
    inventory = Path(sys.argv[2])
    new, old = inventory.with_name("inventory.new"), inventory.with_name("inventory.old")
    put_in_place(new, inventory)
    remove(old)
    if new.exists():
        new.rename(old)
