"""Prints what the modules that decide a simulation load of what they must do without."""

import sys

from gpu_mesh.simulation import simulator, trace_parser  # noqa: F401 (they are loaded, and no more)

print({"yaml", "requests"} & {*sys.modules})
