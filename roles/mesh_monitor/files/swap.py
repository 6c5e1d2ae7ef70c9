"""Exchange the folder INVENTORY.new with INVENTORY in one step, and keep what was there as INVENTORY.old."""

import ctypes
import os
import shutil
import sys

here = sys.argv[1].encode()
new, old = here + b".new", here + b".old"
AT_FDCWD, RENAME_EXCHANGE = -100, 2
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(AT_FDCWD, new, AT_FDCWD, here, RENAME_EXCHANGE):
    sys.exit(f"{sys.argv[1]}: {os.strerror(ctypes.get_errno())}")
shutil.rmtree(old, ignore_errors=True)
os.rename(new, old)  # noqa: PTH104 - the names are bytes
