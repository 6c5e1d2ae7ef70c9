#!/usr/bin/env python3
"""gpu-mesh whose live view crashes as soon as somebody presses a key."""

import sys

from gpu_mesh.cli import live, main


def crash(*_: object) -> None:
    raise RuntimeError("the live view crashed")


live.press = crash  # type: ignore[assignment]
sys.exit(main.main())
