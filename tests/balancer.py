"""The real HAProxy in front of a site's nodes, with the settings and the agent that the role installs."""

import csv
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from checkout import PROGRAMS, ROOT
from gpu_mesh.standin.server import Standin, free_port
from sites import Site, eventually

AGENT = ROOT / "roles/mesh_monitor/files/agent.sh"
MODEL = "llama3.2:latest"
ANY = "gpu-mesh:any"


def program(name: str, package: str = "") -> str:
    """Return where a program is; without it the test is skipped."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}: apt install --no-install-recommends {package or name}")
    return found


class Answer:
    """What came of a request."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


class Server(NamedTuple):
    """What HAProxy says of a node in one of its backends."""

    state: str  # UP, DRAIN or DOWN; with a fraction while checks fail or begin to pass
    weight: int
    failed_checks: int
    at_work: int  # requests


class Balancer:
    """A running HAProxy, and what tells it of the nodes."""

    def __init__(self, site: Site, settings: str = "", ports: dict[str, int] | None = None) -> None:
        self.site = site
        self.port, self.agent_port = free_port(), free_port()
        self.models = ports or {}
        self.folder = Path(tempfile.mkdtemp())
        self.settings = settings
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def variables(self) -> dict[str, Any]:
        """What the inventory says of it."""
        return {
            "haproxy": True,
            "haproxy_port": self.port,
            "haproxy_agent_port": self.agent_port,
            "haproxy_models": self.models,
        }

    def publish(self) -> None:
        """Check the nodes, and write what HAProxy is told of them."""
        self.site.check()
        self.site.ok("publish")

    def start(self) -> None:
        (self.folder / "haproxy.cfg").write_text(self.settings or self.site.ok("export", "haproxy"))
        (self.folder / "global.cfg").write_text(
            "global\n  log stdout format raw daemon notice\n"
            f"  stats socket {self.folder}/stats mode 600 level user\n"
        )
        agent = [sys.executable, PROGRAMS / "listen.py", str(self.agent_port)]
        self.agent = self._run(*agent, "/bin/sh", AGENT, self.site.paths.www / "agent")
        files = ("-f", self.folder / "global.cfg", "-f", self.folder / "haproxy.cfg")
        self.haproxy = self._run(program("haproxy"), "-W", *files)
        # What systemd waits for, too, before it would have it read its settings anew.
        assert eventually(lambda: self.haproxy.poll() is not None or "Loading success" in self.log), self.log
        assert self.haproxy.poll() is None, self.log

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def await_state(self, server: str, state: str, backend: str = ANY) -> None:
        assert eventually(lambda: self.state(server, backend).state == state), self.state(server, backend)

    def state(self, server: str, backend: str = ANY) -> Server:
        """Return what HAProxy itself says of a server."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(f"{self.folder}/stats")
            asking.sendall(b"show stat\n")
            text = asking.makefile().read()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        row = next(row for row in rows if (row["pxname"], row["svname"]) == (backend, server))
        failed = int(row["chkfail"] or 0)  # a server that tracks another one has no checks
        return Server(row["status"].removesuffix(" (agent)"), int(row["weight"]), failed, int(row["scur"]))

    def reload(self) -> None:
        """Have it read its settings anew, as a reload does. Right after its start the signal is lost."""

        def is_done() -> bool:
            os.kill(self.haproxy.pid, signal.SIGUSR2)
            return eventually(lambda: "Reloading HAProxy" in self.log, 1)

        assert eventually(is_done), self.log

    def stop_agent(self) -> None:
        self.agent.kill()
        self.agent.wait()

    def nobody_watches(self) -> None:
        """Let what the monitor has said be out of date, as when its units are stopped for some minutes."""
        (self.site.paths.www / "agent/.until").write_text("1000000000\n")

    def ask(self, prompt: str = "hello", *, model: str = MODEL, port: int = 0, **headers: str) -> Answer:
        """Send one request for text without streaming."""
        with closing(self.begin(prompt, model=model, port=port, **headers)) as connection:
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())

    def begin(
        self, prompt: str = "hello", *, model: str = MODEL, port: int = 0, timeout: float = 60, **headers: str
    ) -> http.client.HTTPConnection:
        """Send one request for text without streaming, and do not wait for its answer."""
        body = {"model": model, "prompt": prompt, "stream": False}
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        connection.request("POST", "/api/generate", json.dumps(body), headers)
        return connection

    @contextmanager
    def streaming(self, pieces: int, model: str = MODEL) -> Iterator[http.client.HTTPResponse]:
        """Begin a request whose answer comes in so many pieces and a last one, each a line."""
        body = {"model": model, "prompt": "go", "stream": True, "options": {"num_predict": pieces}}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("POST", "/api/generate", json.dumps(body))
            yield connection.getresponse()

    def close(self) -> None:
        for each in self._running:
            with suppress(ProcessLookupError):
                each.terminate()
        for each in self._running:
            each.wait()
        shutil.rmtree(self.folder)

    def _run(self, *words: object) -> "subprocess.Popen[bytes]":
        with (self.folder / "log").open("a") as log:
            running = subprocess.Popen(list(map(str, words)), stdout=log, stderr=log)
        self._running.append(running)
        return running


class Process:
    """A stand-in in a process of its own, which can be stopped and killed."""

    def __init__(self, models: Sequence[str] = (MODEL,)) -> None:
        self.port, self.models = free_port(), models
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        words = ["-m", "gpu_mesh.standin", "--port", str(self.port), "--models", ",".join(self.models)]
        self.process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
        assert self.process.stdout
        self.process.stdout.readline()  # it listens

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def pieces_of(answer: http.client.HTTPResponse) -> str:
    """Return the text of the pieces that are still to come; the last one must say that it is the last."""
    lines = [json.loads(line) for line in answer.read().splitlines()]
    assert lines[-1]["done"]
    return "".join(line["response"] for line in lines)


def asked(*nodes: Standin) -> list[int]:
    """Return how many requests for text each node got."""
    return [len(node.generated) for node in nodes]
