"""Runs ticks as processes and kills them with SIGKILL, as told by lines of JSON; for test_kills.py.

A process is forked where everything is imported, so that one takes milliseconds. It is killed from outside
after a time, or by itself at a step: when it opens, renames, links or locks a file, or connects. Between two
of these there is so little time that the clock alone would hardly ever meet it.
"""

import faulthandler
import json
import mmap
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from apprise.plugins.email.base import NotifyEmail

from gpu_mesh.delivery import apprise_config, sender
from gpu_mesh.delivery.render import Templates
from gpu_mesh.delivery.wording import OneAlert
from gpu_mesh.delivery.worker import deliver
from gpu_mesh.domain.alert import Alert, AlertKind, Level
from gpu_mesh.domain.mesh import Settings
from gpu_mesh.inventory import cache
from gpu_mesh.monitor.check import check
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

STEPS = ("open", "os.", "fcntl.", "socket.")


def main() -> None:
    faulthandler.enable()
    folder = Path(sys.argv[1])
    paths = Paths((str(folder / "mesh.yml"),), folder / "config", folder / "state", folder / "state" / "log")
    settings = cache.load(paths, None, time.time()).mesh.settings
    log = Log(paths.log_file)
    _load_all(paths, settings)
    counter = mmap.mmap(-1, 4)
    for line in sys.stdin:
        order = json.loads(line)
        now, ended = order["now"], {}
        works: dict[str, Callable[[], object]] = {
            "check": lambda now=now: check(paths, None, log, lambda: now),
            "deliver": lambda now=now: deliver(paths, settings, log, lambda: now),
        }
        for name, work in works.items():
            killed = name == order["kill"]
            after, step = (order["after"], order["step"]) if killed else (None, None)
            ended[name] = _run(work, order["limit"] if after is None else after, step, counter)
            if ended[name]["killed"]:
                break
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


def _load_all(paths: Paths, settings: Settings) -> None:
    """Let everything be imported that a delivery uses, Apprise's plugins too."""
    import smtplib  # noqa: F401 - see above

    # Apprise pauses between two mails, out of courtesy towards servers that are not the test's own.
    NotifyEmail.request_rate_per_sec = 0
    templates = Templates(settings.alert_templates)
    for channel in apprise_config.load(paths, settings).channels:
        sender.worded(channel, OneAlert(Alert(0, 0.0, Level.ERROR, AlertKind.TEST, "x")), templates)


def _run(work: Callable[[], object], after: float | None, step: int | None, counter: mmap.mmap) -> object:
    counter[:4] = struct.pack("i", 0)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _work(work, step, counter)
    end = os.pidfd_open(child)
    if after is not None and not select.select([end], [], [], after)[0]:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(end)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {
        "killed": killed,
        "code": None if killed else os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "steps": struct.unpack("i", counter[:4])[0],
    }


def _work(work: Callable[[], object], step: int | None, counter: mmap.mmap) -> None:
    made = 0

    def look(name: str, _: object) -> None:
        nonlocal made
        if name.startswith(STEPS):
            made += 1
            counter[:4] = struct.pack("i", made)
            if made == step:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(look)
        work()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
