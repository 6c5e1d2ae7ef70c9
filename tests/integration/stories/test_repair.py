"""The whole story with the real monitor: a node fails, people are told, it is repaired, people are told."""

import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from checkout import PROGRAMS
from gpu_mesh.domain.health import Status
from gpu_mesh.standin.server import free_port
from sites import Receiver, Site, end_all_with, eventually, processes_with


@contextmanager
def ending_all(mark: str):
    """End what a test has left behind, so that a failing one does not disturb the next."""
    try:
        yield
    finally:
        end_all_with(mark)


@contextmanager
def monitor(site: Site):
    with (site.folder / "monitor.err").open("wb") as errors, ending_all(f"HOME={site.folder}"):
        yield subprocess.Popen(
            site.command("run"), env=site.environment, stdout=subprocess.DEVNULL, stderr=errors
        )


def served_by_a_command(site: Site) -> Path:
    """Describe a node whose Ollama a command starts, and return the file with the process's number."""
    port = free_port()
    pid = site.folder / "ollama.pid"
    standin = [sys.executable, "-m", "gpu_mesh.standin", "--port", str(port)]
    words = [str(PROGRAMS / "with_pid.sh"), str(pid), *standin]
    node = {"name": "Desk", "url": f"http://127.0.0.1:{port}", "timeout": 2}
    # Offline is far away: how many checks of a second a repair takes depends on the machine.
    node |= {"recovery": "command", "recovery_command": shlex.join(words), "offline_threshold": 60}
    node["unhealthy_threshold"] = 5  # long enough that the first alert is sent before there is a second
    site.describe({"desk": node}, check_interval=1, recover_interval=1)
    subprocess.Popen(words, env=site.environment, start_new_session=True)
    return pid


def left_of_the_monitor(site: Site) -> list[bytes]:
    """Return the command lines of its processes, without the owner's commands, which are meant to stay."""
    lines = []
    for number in processes_with(f"HOME={site.folder}"):
        with suppress(OSError):
            lines.append(Path(f"/proc/{number}/cmdline").read_bytes())
    return [line for line in lines if b"\0gpu_mesh\0" in line or b"ansible" in line]


def is_healthy(site: Site) -> bool:
    return site.paths.state_file.exists() and site.state().node("desk").status is Status.HEALTHY


def test_a_killed_ollama_is_told_of_restarted_and_told_of_while_another_command_fails(
    site: Site, receiver: Receiver
):
    site.alerts_go_to(receiver.url)
    broken = site.folder / "broken"
    broken.touch()
    site.environment |= {
        "PYTHONPATH": str(PROGRAMS / "broken"),
        "BROKEN_COMMAND": "deliver",
        "BROKEN_WHILE": str(broken),
    }
    with monitor(site) as running:
        pid = served_by_a_command(site)
        assert eventually(lambda: any("command_failed command=deliver" in line for line in site.log()))
        assert eventually(lambda: is_healthy(site))
        broken.unlink()
        assert eventually(lambda: receiver.titles)  # else what comes first waits, and is merged with the next
        assert eventually(pid.exists)
        killed = int(pid.read_text())
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: len(receiver.levels("Desk")) >= 3), site.log()
        assert receiver.levels("Desk") == ["WARNING", "ERROR", "INFO"]
        assert "recovered after" in receiver.titles[-1]
        assert int(pid.read_text()) != killed
        assert is_healthy(site)
        checks = site.state().nodes["desk"].statistics.checks
        assert eventually(lambda: site.state().nodes["desk"].statistics.checks > checks)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
        assert left_of_the_monitor(site) == []
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert any("event=monitor_stopped" in line for line in site.log())


def test_a_second_monitor_of_the_same_state_is_refused_and_names_the_first(site: Site, standin) -> None:
    site.describe({"desk": {"url": standin().url}})
    with monitor(site) as running:
        assert eventually(site.paths.state_file.exists)
        second = site.run("run")
        assert second.returncode == 2
        assert f"process {running.pid} watches this mesh already" in second.stderr
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def test_a_monitor_that_is_stopped_in_the_middle_of_a_recovery_leaves_nothing_running(site: Site):
    pid = site.folder / "restart.pid"
    command = f"{PROGRAMS}/with_pid.sh {pid} sleep 60"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    node = {"url": url, "recovery": "command", "recovery_command": command, "unhealthy_threshold": 1}
    site.describe({"desk": node}, check_interval=1)
    with monitor(site) as running:
        assert eventually(pid.exists), (site.folder / "monitor.err").read_text()
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
        assert left_of_the_monitor(site) == []
    assert site.state().nodes["desk"].recovery.claim is None


def test_a_monitor_that_cannot_start_a_command_for_a_while_goes_on(site: Site, standin) -> None:
    site.describe({"desk": {"url": standin().url}}, check_interval=1)
    with monitor(site) as running:
        assert eventually(site.paths.state_file.exists)
        before = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (4, before[1]))
        errors = site.folder / "monitor.err"
        assert eventually(lambda: "command_not_started command=check" in errors.read_text())
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, before)
        checks = site.state().nodes["desk"].statistics.checks
        assert eventually(lambda: site.state().nodes["desk"].statistics.checks > checks)
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


# The demo.


class Demo:
    """A demo under way in a folder for temporary files that is its own."""

    def __init__(self, stack: ExitStack, path: str = "") -> None:
        # Short, for ssh keeps a socket below it, and a socket's name has a hundred letters at most.
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gm-test-")))
        stack.enter_context(ending_all(str(self.folder)))
        environment = {**os.environ, "TMPDIR": str(self.folder), "PATH": path or os.environ["PATH"]}
        self.process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "gpu_mesh", "demo"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self.told = ""

    def until(self, words: str) -> None:
        for line in self.process.stdout:
            self.told += line
            if words in line:
                return
        raise AssertionError(f"{words} was never told:\n{self.told}\n{self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        told, errors = self.process.communicate(timeout=60)
        self.told += told
        return self.process.returncode, errors

    def left_behind(self) -> list[object]:
        return [*self.folder.iterdir(), *processes_with(str(self.folder))]


@pytest.fixture
def demo():
    with ExitStack() as stack:
        yield lambda **options: Demo(stack, **options)


@pytest.fixture
def path_without_ssh(tmp_path) -> str:
    """A PATH on which is what the machine has, but for ssh."""
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = tmp_path / "bin" / program.name
            link.parent.mkdir(exist_ok=True)
            if not program.name.startswith("ssh") and not os.path.lexists(link):
                link.symlink_to(program)
    return str(tmp_path / "bin")


@pytest.mark.soak
def test_the_demo_tells_of_three_incidents_and_leaves_its_page_behind_and_nothing_else(demo):
    running = demo()
    running.until("2. Desk's Ollama crashes")
    has_ssh = bool(shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))
    assert ("a real ssh tunnel" in running.told) == has_ssh
    assert running.end() == (0, ""), running.told
    two, _, card = running.told.partition("2. Desk")[2].partition("4. Desk's GPU")
    assert "needs you: not restarted: A GPU has fallen off the bus" in card
    assert "reboot the monitor" in card
    incidents = two.split("3. Iceland's tunnel dies")
    for name, incident in zip(("Desk", "Iceland"), incidents, strict=True):
        alerts = [line for line in incident.splitlines() if f"] {name}: " in line]
        levels = [line.partition("[")[2].partition("]")[0] for line in alerts]
        # On a slow machine the first is replaced by the second before it is sent.
        assert levels in (["WARNING", "ERROR", "INFO"], ["ERROR", "INFO"])
    assert "2 of 2 nodes healthy" in running.told.partition("5. All is well again")[2] or (
        "Your Ollama" in running.told
    )
    assert "mended: " in running.told.partition("$ gpu-mesh incidents")[2]
    (kept,) = running.left_behind()
    assert f"The page that anybody can be given: {kept}\n" in running.told
    assert "<title>" in kept.read_text()


def test_a_demo_that_is_interrupted_in_the_middle_of_a_repair_leaves_nothing_behind(demo):
    running = demo()
    running.until("[ERROR] Desk")
    running.process.send_signal(signal.SIGINT)
    assert running.end() == (130, "")
    assert running.left_behind() == []


@pytest.mark.soak
def test_a_demo_without_ssh_says_so_and_terminated_leaves_nothing_behind(demo, path_without_ssh):
    running = demo(path=path_without_ssh)
    running.until("a plain forwarder (no sshd here, so no real ssh tunnel)")
    running.until("[WARNING] Desk")
    running.process.terminate()
    assert running.end() == (143, "")
    assert running.left_behind() == []
