"""Many threads decode what nodes send, all of them at once and for the first time in their process."""

import subprocess
import sys

from checkout import PROGRAMS


def test_threads_that_decode_at_once_for_the_first_time_do_not_crash_the_check() -> None:
    program = PROGRAMS / "decode_in_threads.py"
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("0\n", "")
