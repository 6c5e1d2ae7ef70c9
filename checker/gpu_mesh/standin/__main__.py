"""Runs the stand-in: ``python -m gpu_mesh.standin --port 11434``."""

from gpu_mesh.standin.server import main

raise SystemExit(main())
