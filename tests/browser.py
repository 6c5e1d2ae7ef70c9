"""A headless Chromium, driven by its DevTools protocol over a pipe: what a page shows, and complains of."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0  # seconds until an answer that does not come counts as lost


class Browser:
    """A browser with a profile of its own."""

    def __init__(self) -> None:
        assert PROGRAM, "there is no Chromium"
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_it, self._out = os.pipe()
        self._in, from_it = os.pipe()
        options = [
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
        ]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # it refuses root otherwise
        command = [PROGRAM, *options, f"--user-data-dir={self._profile.name}", "--remote-debugging-pipe"]
        # It reads commands from descriptor 3, and answers on 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "bash", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(to_it, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_it)
        os.close(from_it)
        self._buffer = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._profile.cleanup()

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            got = self._read()
            if got.get("id") == self._number:
                assert "error" not in got, (method, got["error"])
                return got["result"]
            self.events.append(got)

    def await_event(self, method: str) -> None:
        """Wait for an event, unless it has come already."""
        while all(event.get("method") != method for event in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._in, 1 << 20)
            assert got, "the browser has ended"
            self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def open(self, file: Path, *, width: int = 1200, dark: bool = False, now: float | None = None) -> "Tab":
        """Open a file as a page.

        Args:
            file: the page.
            width: of the window; up to 500 it is a phone.
            dark: whether the person prefers dark colours.
            now: what the page takes for the time, in Unix seconds; None: what it is.
        """
        self.events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        phone = width <= 500
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844 if phone else 900,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        if now is not None:
            clock = f"globalThis.clock = {now * 1000}; Date.now = () => globalThis.clock;"
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=clock)
        tab.call("Page.navigate", url=file.as_uri())
        self.await_event("Page.loadEventFired")
        return tab


class Tab:
    """One open page."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def value(self, expression: str) -> Any:
        """Return the value of an expression, or what its promise gives."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def becomes_true(self, expression: str) -> bool:
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    @property
    def complaints(self) -> list[str]:
        """What the browser's console shows: violations of the policy, errors, what scripts print."""
        self.value("1")  # so that what came before it is here
        found = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        return [json.dumps(event["params"]) for event in self._browser.events if event.get("method") in found]

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong for people with disabilities, each with where."""
        self.value((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8") + ";0")
        found = self.value("axe.run().then(result => result.violations)")
        return [f"{each['id']}: {[node['target'] for node in each['nodes']][:5]}" for each in found]

    def picture(self, file: Path, element: str = "") -> None:
        """Keep what the whole page looks like, or what one element of it does."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        if element:
            size = self.value(f"document.querySelector('{element}').getBoundingClientRect().toJSON()")
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 4000), "scale": 1}
        shown = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shown["data"]))
