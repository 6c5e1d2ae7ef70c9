"""Starts the command ``gpu-mesh``, and ends its process.

A command is a short-lived process and makes almost no garbage. Python's garbage collector would still search
for it during the imports, and in the end Python would take every module apart, only for the kernel to throw
all of it away. Together that is a third of a check's CPU, so the first is almost switched off and the second
left out.
"""

import gc
import sys

gc.set_threshold(100_000)
import atexit  # noqa: E402 - the threshold is for all that is imported here
import os  # noqa: E402
import threading  # noqa: E402

from gpu_mesh.cli import main as cli  # noqa: E402


def main() -> int:
    """Run the command line; end the process with its exit status.

    Returns:
        The exit status, where a thread is still at work: Python waits for it, as it always does.
    """
    status = cli.main()
    gc.freeze()
    if not any(_is_at_work(thread) for thread in threading.enumerate()):
        _leave(status)
    return status


def _is_at_work(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and not thread.daemon


def _leave(status: int) -> None:
    """End the process at once, with all that Python does in the end but taking itself apart."""
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return  # Python says what cannot be written, in its own way
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
