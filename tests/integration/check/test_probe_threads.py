"""Many threads decode what nodes send, all of them at once and for the first time in their process."""

import subprocess
import sys

PROGRAM = """
import os, sys, threading
from gpu_mesh.probe import ollama as probe

BODIES = {
    probe._Tags: b'{"models": [{"name": "a"}]}',
    probe._Ps: b'{"models": [{"name": "a", "size": 1}]}',
    probe._Version: b'{"version": "1"}',
    probe._Generated: b'{"done": true}',
}

def decode_all(start):
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
"""


def test_threads_that_decode_at_once_for_the_first_time_do_not_crash_the_check() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("0\n", "")
