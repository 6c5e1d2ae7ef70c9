"""Makes up Desk's GPU for the demo: the files and the program that a look at a host finds."""

from pathlib import Path

from gpu_mesh.standin import nvidia_smi

_BUS = "0000:01:00.0"
_WELL, _LOST = b"\xde\x10\x04\x22", b"\xff\xff\xff\xff"
_FILES = {
    "proc/version": "Linux",
    "proc/uptime": "86400.00 86400.00",
    "proc/1/comm": "systemd",
    "proc/sys/kernel/random/boot_id": "demo",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  595.71.05",
    "dev/nvidiactl": "",
    "dev/nvidia0": "",
    "sys/module/nvidia/version": "595.71.05",
    "sys/module/nvidia_uvm/version": "595.71.05",
    f"sys/bus/pci/devices/{_BUS}/class": "0x030000",
    f"sys/bus/pci/devices/{_BUS}/vendor": "0x10de",
    f"sys/bus/pci/devices/{_BUS}/device": "0x2204",
}


class DemoCard:
    """One card of NVIDIA that is well, until it falls off the bus."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "host"
        self.programs = folder / "programs"
        for name, text in _FILES.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        nvidia_smi.put(self.programs, "one", f"pci.bus_id=0000{_BUS}")
        self.be(well=True)

    def be(self, *, well: bool) -> None:
        """Let it be well, or let it be lost."""
        (self.root / f"sys/bus/pci/devices/{_BUS}/config").write_bytes(_WELL if well else _LOST)
        nvidia_smi.answers(
            self.programs / "nvidia-smi", "one" if well else "lost:0", f"pci.bus_id=0000{_BUS}"
        )
