"""Logs an error and a notice: write_log.py FILE."""

import sys
from pathlib import Path

from gpu_mesh.domain.event import Severity, event
from gpu_mesh.system.log import Log

log = Log(Path(sys.argv[1]))
log.write([event("bad", Severity.ERROR), event("changed", Severity.NOTICE)], 0.0)
