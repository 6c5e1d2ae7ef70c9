"""Probes a node whose name server never answers, prints the fault, and ends although a thread still waits."""

import threading

from gpu_mesh.domain.mesh import Node
from gpu_mesh.probe.ollama import observe


def silent(host: str, port: int) -> list[str]:
    threading.Event().wait()
    return []


node = Node(key="a", name="A", url="http://gpu.example", timeout=0.3)
print(observe(node, 0.0, ask_version=False, trust_env=False, resolve=silent).tags.fault)
