"""Prints in how many of 60 processes threads crashed that decode for the first time, all at once."""

import os
import sys
import threading

from gpu_mesh.probe import ollama as probe

BODIES = {
    probe._Tags: b'{"models": [{"name": "a"}]}',
    probe._Ps: b'{"models": [{"name": "a", "size": 1}]}',
    probe._Version: b'{"version": "1"}',
    probe._Generated: b'{"done": true}',
}


def decode_all(start: threading.Barrier) -> None:
    start.wait()
    for shape, body in BODIES.items():
        probe.decode(body, shape)


sys.setswitchinterval(1e-6)
crashed = 0
for _ in range(60):
    child = os.fork()
    if child == 0:
        start = threading.Barrier(8)
        threads = [threading.Thread(target=decode_all, args=(start,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    crashed += os.waitpid(child, 0)[1] != 0
print(crashed)
