"""Runs commands and says what they took; puts figures into rows of the table. For every bench."""

import atexit
import functools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

MIB = 2**20
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """What a process took, with its children."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    memory: float  # bytes, at most
    written: float  # bytes given to the file system


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    ours: str
    beside: str = "–"  # what it is compared with, and that one's figure
    ratio: str = "–"  # median (least to most)
    budget: str = "–"
    met: bool | None = None  # None: there is no budget

    @property
    def verdict(self) -> str:
        return {None: "", True: "met", False: "MISSED"}[self.met]


@functools.cache
def python() -> str:
    """Return the Python of an installation as site.yml makes it; it is removed at the end.

    The tools of a developer weigh on every start: msgspec loads what they bring along.
    """
    folder = Path(tempfile.mkdtemp(prefix="gpu-mesh-bench-"))
    atexit.register(shutil.rmtree, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run([*pip, *wheel], check=True)
    there = [*pip, "--python", folder, "install"]
    subprocess.run([*there, "--require-hashes", "--requirement", ROOT / "constraints.txt"], check=True)
    subprocess.run([*there, "--no-deps", *folder.glob("*.whl")], check=True)
    return str(folder / "bin/python")


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command that must succeed."""
    apart = [sys.executable, "-S", "-E", str(Path(__file__).with_name("apart.py")), *command]
    done = subprocess.run(apart, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    if found.pop("status"):
        raise RuntimeError(f"{' '.join(command)} failed")
    return Run(**found)


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Run a command that must succeed, and return the seconds of CPU that it took."""
    return run(command, environment).cpu


def fsyncs(command: Sequence[str]) -> int | None:
    """Run a command and count how often it waits for the disk; None: there is no strace."""
    if not shutil.which("strace"):
        return None
    traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range", *command]
    done = subprocess.run(traced, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return sum("sync(" in line and "resumed" not in line for line in done.stderr.splitlines())


class Site:
    """A monitor in a folder of its own."""

    def __init__(self, folder: Path, urls: Sequence[str], **settings: object) -> None:
        named = {
            key if key.startswith("mesh_") else f"mesh_monitor_{key}": to for key, to in settings.items()
        }
        own = {"ansible_connection": "local", **named}
        hosts = {f"node{number}": {"mesh_node_url": url} for number, url in enumerate(urls)}
        folder.mkdir()
        self.folder, inventory = folder, folder / "mesh.yml"
        groups = {"mesh_monitors": {"hosts": {"monitor": own}}, "mesh_nodes": {"hosts": hosts}}
        inventory.write_text(json.dumps(groups))
        options = ["-i", str(inventory), "--state-dir", str(folder / "state")]
        self._start = [python(), "-m", "gpu_mesh", *options]

    def command(self, *words: str) -> list[str]:
        return [*self._start, *words]

    def run(self, *words: str) -> Run:
        return run(self.command(*words))

    def check(self) -> Run:
        return self.run("check")

    def answered(self) -> int:
        """Return how many nodes answered the last check."""
        nodes = json.loads((self.folder / "state/state.json").read_bytes())["nodes"]
        return sum(not node.get("failures") for node in nodes.values())


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, str]:
    """Return the median of the ratios of pairs, and it with the least and the most, in words."""
    pairs = [own / other for own, other in zip(ours, theirs, strict=True) if other]
    if not pairs:
        return 0.0, "–"
    middle = statistics.median(pairs)
    return middle, f"{middle:.2f} ({min(pairs):.2f} to {max(pairs):.2f})"


def compared(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    beside: str,
    budget: float | None = None,
    unit: str = "s",
) -> Row:
    """Return the row of figures that were measured in pairs; the budget is a ratio."""
    ratio, words = ratios(ours, theirs)
    return Row(
        what,
        figure(statistics.median(ours), unit),
        f"{beside}: {figure(statistics.median(theirs), unit)}",
        words,
        "–" if budget is None else f"≤ {budget:g} ×",
        None if budget is None else ratio <= budget,
    )


def bounded(
    what: str, ours: Sequence[float], budget: float | None, unit: str = "s", beside: str = "–"
) -> Row:
    """Return the row of figures that a bound of the same unit applies to; the ratio is that to the bound."""
    middle = statistics.median(ours)
    words = "–" if budget is None else ratios(ours, [budget] * len(ours))[1] + " of it"
    limit = "–" if budget is None else f"≤ {figure(budget, unit)}"
    return Row(what, figure(middle, unit), beside, words, limit, None if budget is None else middle <= budget)


def figure(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value / MIB:.1f} MiB" if value >= MIB else f"{value / 1024:.0f} KiB"
    if unit == "s" and value < 1:
        return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1000:.2g} ms"
    if unit == "s":
        return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"
    return f"{value:.3g}{unit and ' '}{unit}"


def machine() -> str:
    """Describe the machine and how busy it is."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} cores of {model}, {pages:.0f} GiB, Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f} of others and of this"
    )


def versions() -> str:
    of = ("requests", "urllib3", "msgspec")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in of)])


def allow_files(files: int = 32_768) -> None:
    """Raise this process's limit on open files as far as it may, for the processes that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
