"""Defines what a look at a host's GPUs shows, and what is remembered of earlier looks. Values only.

Sizes are bytes, times Unix seconds. playbooks/recovery/files/gpu.sh makes the look, hosts/gpu_look.py
reads it.
"""

from enum import StrEnum

from msgspec import Struct


class Vendor(StrEnum):
    """Who made a card."""

    NVIDIA = "nvidia"
    AMD = "amd"
    OTHER = "other"


class Place(StrEnum):
    """What kind of system the look was made in."""

    HOST = "host"
    CONTAINER = "container"
    WSL = "wsl"  # Windows has the driver, and no card is on a bus here


class OnBus(StrEnum):
    """How a card answers on the PCI bus."""

    UNSEEN = ""  # no bus is seen here
    OK = "ok"
    LOST = "lost"  # its configuration space reads as ff
    ASLEEP = "asleep"  # suspended to save power, and not asked


class Smi(StrEnum):
    """What came of asking nvidia-smi."""

    NONE = ""  # there was nothing to ask it for
    OK = "ok"
    FAILED = "failed"
    SLOW = "slow"  # not back in time, but it does something
    STUCK = "stuck"  # not back in time, and in state D whenever it was looked at
    SKIPPED = "skipped"  # another one was stuck already
    MISSING = "missing"


class Slowdown(StrEnum):
    """Why the driver holds a card's clocks down, as far as that is trouble."""

    HEAT = "heat"
    POWER = "power"  # the power supply asks for it


class Card(Struct, frozen=True, omit_defaults=True):
    """One card. What the driver does not tell is None."""

    vendor: Vendor = Vendor.NVIDIA
    bus: str = ""  # 0000:0b:00.0; "": not seen on a bus
    on_bus: OnBus = OnBus.UNSEEN
    index: int | None = None  # the driver's number
    uuid: str = ""
    name: str = ""
    used: int | None = None
    total: int | None = None
    busy: int | None = None  # per cent
    temperature: int | None = None  # degrees Celsius
    power: float | None = None  # watts
    throttle: int = 0  # the driver's bits of why its clocks are held down, such as THERMAL
    ecc: int | None = None  # uncorrected memory errors since the driver was loaded
    remap_failed: bool = False  # a broken row of its memory could not be replaced
    remap_pending: bool = False  # it is replaced with the next reset
    recovery_action: str = ""  # what the driver asks for, in lower case: none, reset, reboot …; "": not told
    reset_required: bool = False  # it says so in the place of values
    mig: bool = False  # it is divided
    width: int = 0  # lanes of its link; 0: not told
    max_width: int = 0

    @property
    def slowed_by(self) -> tuple[Slowdown, ...]:
        """Why its clocks are held down now; (): they are not, or it is not told."""
        bits = ((THERMAL, Slowdown.HEAT), (POWER_BRAKE, Slowdown.POWER))
        return tuple(why for bit, why in bits if self.throttle & bit)


class Holder(Struct, frozen=True, omit_defaults=True):
    """A process that holds memory of a card."""

    pid: int
    name: str = ""
    size: int | None = None
    uuid: str = ""  # of the card
    runner: bool = False  # it is a runner of Ollama


class Process(Struct, frozen=True):
    """A process, told apart from a later one with the same number by when it began."""

    pid: int
    start: int  # clock ticks since boot
    name: str = ""


class GpuFacts(Struct, frozen=True, omit_defaults=True):
    """What one look at a host's GPUs showed."""

    at: float = 0.0
    boot: str = ""  # identifies the boot of the host
    uptime: float = 0.0  # seconds since then
    place: Place = Place.HOST
    devices: bool = True  # whether the driver's device files can be opened here
    driver: str = ""  # version of the loaded module of NVIDIA; "": none is loaded
    library: str = ""  # version of its library on disk, which new processes load; "": not seen
    modules: tuple[str, ...] = ()  # of nvidia, nvidia_uvm, amdgpu: those that are loaded
    smi: Smi = Smi.NONE
    said: tuple[str, ...] = ()  # what nvidia-smi printed in the place of values
    cards: tuple[Card, ...] = ()
    holders: tuple[Holder, ...] = ()
    waiting: tuple[Process, ...] = ()  # tools such as nvidia-smi that were in state D all the time
    ollama_waits: bool = False  # so was Ollama or a runner of it
    kernel: tuple[str, ...] = ()  # lines of the kernel's log that matter, each after its age in seconds
    kernel_read: bool = False  # whether that log may be read
    resumed: float | None = None  # seconds since the host last woke from suspend
    loaded: int | None = None  # how many models Ollama said it has loaded, where that was asked on the host
    ollama_log: tuple[str, ...] = ()  # what Ollama said of GPUs when it started

    @property
    def present(self) -> tuple[Card, ...]:
        """The cards that answer, or sleep."""
        return tuple(card for card in self.cards if card.on_bus is not OnBus.LOST)


class NodeGpu(Struct, frozen=True, omit_defaults=True):
    """What is remembered of the GPUs of a node's host."""

    facts: GpuFacts
    waiting_since: dict[str, float] = {}  # of each waiting process, as pid:start: when it was first seen so
    throttled: dict[str, int] = {}  # by card: looks in a row that saw it too hot, or without power
    most: int = 0  # the most cards that were present at once
    held: int = 0  # looks in a row that saw much memory in use while no model was loaded
    unused: int = 0  # looks in a row that saw less memory in use than the loaded models should have
    outdated: bool = False  # the node was down since, and answers again: its host may have been rebooted


LOOKS_AGAIN = 120.0
"""Seconds between two runs of ``gpu-mesh look`` by its timer: no host is looked at more often."""

LOOKED_EVERY = 600.0
"""Seconds between two looks: assumed where none are made regularly."""

THERMAL, POWER_BRAKE = 0x20 | 0x40, 0x80
"""The driver's bits (NVML, nvmlClocksEventReasons) for clocks held down by heat, and by the power supply."""
