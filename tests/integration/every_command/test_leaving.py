"""The process of a command ends at once, and nothing that it still had to do is lost."""

import os
import subprocess
import sys
from pathlib import Path

START = """
import sys
from gpu_mesh.cli import main as cli
from gpu_mesh.__main__ import main

def command():
{lines}

cli.main = command
sys.exit(main())
"""


def run(*lines: str) -> tuple[int, str, str]:
    """Run a process whose command does this; return its status and what it printed."""
    script = START.format(lines="\n".join(f"    {line}" for line in lines))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_what_was_printed_arrives_and_the_exit_status_is_the_commands() -> None:
    assert run("print('a' * 10)", "print('b', file=sys.stderr)", "return 7") == (7, "a" * 10 + "\n", "b\n")


def test_what_was_asked_for_at_exit_is_done() -> None:
    lines = ("import atexit", "atexit.register(print, 'tidied up')", "return 1")
    assert run(*lines) == (1, "tidied up\n", "")


def test_a_thread_at_work_is_waited_for_and_a_daemon_is_not() -> None:
    work = "lambda: (threading.Event().wait(0.5), print('done'))"
    lines = ("import threading", f"threading.Thread(target={work}).start()", "return 3")
    assert run(*lines) == (3, "done\n", "")
    idle = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    assert run("import threading", idle, "return 4") == (4, "", "")


def test_the_modules_are_not_taken_apart() -> None:
    lines = ("class Kept:", "    def __del__(self): print('taken apart')", "cli.kept = Kept()", "return 0")
    assert run(*lines) == (0, "", "")


def test_an_output_that_cannot_be_written_is_said() -> None:
    script = START.format(lines="    print('lost')\n    return 0")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=buffered,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 120
    assert "No space left on device" in done.stderr
