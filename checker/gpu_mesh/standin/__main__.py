"""Runs the stand-in: ``python -m gpu_mesh.standin --port 11434 --models a,b --loaded a``.

With ``--control``, ``curl -X PUT --data slow:3 http://127.0.0.1:11434/standin/fault`` sets the fault.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

from gpu_mesh.standin.faults import FAULTS
from gpu_mesh.standin.server import Standin


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stand-in until SIGTERM or SIGINT; print one line as soon as it listens."""
    parser = argparse.ArgumentParser(prog="python -m gpu_mesh.standin", description="A stand-in for Ollama.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=11434, help="0: a free one")
    parser.add_argument("--models", type=_list, default=("llama3.2:latest",), help="a,b,…")
    parser.add_argument("--loaded", type=_list, default=(), help="a,b,…")
    parser.add_argument("--fault", default="none", help=", ".join(FAULTS) + "; some take :seconds")
    parser.add_argument("--prefix", default="", help="the path below which it answers, as behind a proxy")
    parser.add_argument("--control", action="store_true", help="let PUT /standin/fault change the fault")
    options = vars(parser.parse_args(arguments))
    try:
        standin = Standin(**options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in every thread, so that none is lost before sigwait
    with standin:
        sys.stdout.write(f"listening on {standin.url}\n")
        sys.stdout.flush()
        signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
