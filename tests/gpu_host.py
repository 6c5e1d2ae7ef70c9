"""A folder that stands for a host's /sys, /proc and /dev, and its nvidia-smi, for tests without a GPU."""

import os
import subprocess
from pathlib import Path

from checkout import ROOT
from gpu_mesh.standin import nvidia_smi

FILES = ROOT / "playbooks/recovery/files"
FUNCTIONS = "".join((FILES / name).read_text() for name in ("gpu_mesh.sh", "gpu.sh"))
BOOT = "60c200b7-25c7-424f-a938-186c6e94e3bb"
VENDORS = {"nvidia": "0x10de", "amd": "0x1002", "intel": "0x8086", "aspeed": "0x1a03"}
STAT = "{number} ({name}) {state} 1 1 1 0 -1 0 0 0 0 0 7 5 0 0 20 0 1 0 {start} 0 0\n"


class GpuHost:
    """A host without a GPU, until a test gives it one."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "host"
        self.programs = folder / "programs"
        self.write("proc/sys/kernel/random/boot_id", BOOT)
        self.write("proc/uptime", "5000.25 9000.00")
        self.write("proc/version", "Linux version 6.12.0")
        self.write("proc/1/comm", "systemd")
        for name in ("journalctl", "dmesg", "systemctl"):  # not those of the host that runs the tests
            self.program(name, "exit 1")

    def write(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else f"{text}\n".encode())

    def program(self, name: str, does: str) -> None:
        """Put a program of that name before the host's own."""
        self.programs.mkdir(parents=True, exist_ok=True)
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{does}\n")
        file.chmod(0o755)

    def device(self, place: str, vendor: str, **files: str | bytes) -> None:
        """Put a video device on the PCI bus; a file's name may have ``__`` for a slash."""
        card: dict[str, str | bytes] = {
            "class": "0x030000",
            "vendor": VENDORS[vendor],
            "device": "0x2330",
            "config": b"\xde\x10\x30\x23",
            "current_link_width": "8",
            "max_link_width": "16",
            "power__runtime_status": "active",
        }
        for name, text in {**card, **files}.items():
            self.write(f"sys/bus/pci/devices/{place}/{name.replace('__', '/')}", text)

    def nvidia(self, case: str = "one", *lines: str, version: str = "595.71.05", cards: int = 1) -> None:
        """Give it cards of NVIDIA with their driver, and an nvidia-smi that answers so."""
        for number in range(cards):
            self.device(f"0000:{number + 1:02x}:00.0", "nvidia")
            self.write(f"dev/nvidia{number}", "")
        self.write("dev/nvidiactl", "")
        self.write(
            "proc/driver/nvidia/version", f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue"
        )
        for module in ("nvidia", "nvidia_uvm"):
            (self.root / "sys/module" / module).mkdir(parents=True)
        nvidia_smi.put(self.programs, case, *lines)

    def process(self, number: int, name: str, state: str, start: int = 77) -> None:
        """Let a process of that name be in that state."""
        self.write(f"proc/{number}/comm", name)
        self.write(
            f"proc/{number}/stat", STAT.format(number=number, name=name, state=state, start=start).rstrip()
        )

    def command(self, *shell: str, seconds: int, instead: str = "") -> "subprocess.Popen[str]":
        """Begin a look; ``instead`` are functions that stand in the place of the script's own."""
        runners = "ollama_runners() { echo '4242 7'; }\nunit_processes() { echo 4343; }"
        look = f"look_at_gpus {seconds} system ollama.service"
        environment = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "GPU_MESH_GPU_ROOT": str(self.root),
        }
        return subprocess.Popen(
            [*(shell or ("sh",)), "-c", f"{FUNCTIONS}\n{runners}\n{instead}\n{look}"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def look(self, *shell: str, seconds: int = 15, instead: str = "") -> list[str]:
        """The facts that a look prints, without their beginning; fails when a line is no fact."""
        with self.command(*shell, seconds=seconds, instead=instead) as process:
            output, _ = process.communicate(timeout=60)
        return facts(output)


def facts(output: str) -> list[str]:
    """What a look has printed, without the beginning of each line, which must be there."""
    lines = output.splitlines()
    begin = "gpu-mesh: gpu "
    assert all(line.startswith(begin) for line in lines), output
    return [line.removeprefix(begin) for line in lines]
