"""On PYTHONPATH: the command BROKEN_COMMAND of gpu-mesh fails while the file BROKEN_WHILE is there."""

import os
import sys

if os.environ.get("BROKEN_COMMAND") in sys.orig_argv and os.path.exists(os.environ["BROKEN_WHILE"]):  # noqa: PTH110
    sys.exit("it is broken")
