"""Runs gpu-mesh in this process, and prints the CPU of each stage of its check as JSON; for stages.py."""

import json
import time
from collections.abc import Callable
from typing import Any

import gpu_mesh.__main__  # noqa: F401 - first: it sets up the garbage collector
from gpu_mesh.cli.main import main
from gpu_mesh.monitor import check, history, tick
from gpu_mesh.planning import plan
from gpu_mesh.probe import pool
from gpu_mesh.storage import mesh_file
from gpu_mesh.storage.state_file import StateFile
from gpu_mesh.system.log import Log

STAGES = (
    ("read the mesh", check, "_load"),
    ("read the state", StateFile, "_read"),
    ("probe", pool, "observe_all"),
    ("decide", tick, "apply"),
    ("plan", plan, "plan"),
    ("save the state", StateFile, "_save"),
    ("keep the mesh", mesh_file, "keep"),
    ("log", Log, "write"),
    ("history", history, "add"),
)

taken = {"start and imports": time.process_time()}
inside: list[float] = []  # seconds of the stages that a stage has called


def timed(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
    def measured(*arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        inside.append(0.0)
        try:
            return whole(*arguments, **options)
        finally:
            seconds = time.process_time() - began
            taken[name] = taken.get(name, 0.0) + seconds - inside.pop()
            if inside:
                inside[-1] += seconds

    return measured


for stage, place, function in STAGES:
    setattr(place, function, timed(stage, getattr(place, function)))
timed("the rest", main)()
print(json.dumps(taken))
