"""Reads what a look at a host's GPUs printed (playbooks/recovery/files/gpu.sh). Pure.

The host may print anything: lines that are none of the look's, and values that are no numbers, are ignored.
"""

import re
from collections.abc import Callable

from msgspec.structs import replace

from gpu_mesh.domain.gpu import Card, GpuFacts, Holder, OnBus, Place, Process, Smi, Vendor
from gpu_mesh.text.sanitize import plain

_PREFIX = "gpu-mesh: gpu "
_MOST_TEXT = 200  # characters of one line, as far as it is kept
_MOST_LINES, _MOST_CARDS, _MOST_HOLDERS = 8, 64, 32
_MIB = 2**20
_KNOWN_MODULES = ("nvidia", "nvidia_uvm", "amdgpu")
_RESET = "gpu requires reset"


_MOST_PRINTED = 60_000  # characters of a whole look


def lines_of(printed: str) -> str:
    """Return the lines of what a shell printed that are the look's."""
    lines = (
        line[:500] for line in printed.splitlines() if line.startswith(_PREFIX) or _LOADED.fullmatch(line)
    )
    return "\n".join(lines)[:_MOST_PRINTED]


def read(printed: str, at: float) -> GpuFacts | None:
    """Return the facts of a look; None: there was none, or it was cut off.

    Args:
        printed: all that the look's shell printed.
        at: Unix seconds when it was made.
    """
    lines = [line.partition(_PREFIX)[2].strip() for line in printed.splitlines() if line.startswith(_PREFIX)]
    if "end" not in lines:
        return None
    reading = _Reading(GpuFacts(at=at))
    for line in lines[: lines.index("end")]:
        word, _, rest = line.partition(" ")
        take = _TAKE.get(word)
        if take:
            take(reading, rest.strip())
    found = _LOADED.search(printed)
    loaded = int(found[1]) if found else None
    return replace(reading.facts, cards=tuple(reading.cards.values()), loaded=loaded)


_LOADED = re.compile(r"^gpu-mesh: loaded (\d{1,4})$", re.MULTILINE)
"""How the restart playbook says how many models are loaded: it has asked Ollama on its own host."""


class _Reading:
    """The facts so far, and what the lines to come need."""

    def __init__(self, facts: GpuFacts) -> None:
        self.facts = facts
        self.cards: dict[str, Card] = {}  # by bus, or by index where no bus is seen
        self.fields: list[str] = []

    def set(self, **facts: object) -> None:
        self.facts = replace(self.facts, **facts)

    def add(self, name: str, value: object, most: int) -> None:
        """Add a value; of too many, the last ones are kept."""
        known = getattr(self.facts, name)
        self.facts = replace(self.facts, **{name: (*known, value)[-most:]})


def _boot(reading: _Reading, rest: str) -> None:
    boot, uptime = _words(rest, 2)
    reading.set(boot=plain(boot)[:40], uptime=_float(uptime) or 0.0)


def _place(reading: _Reading, rest: str) -> None:
    if rest in set(Place):
        reading.set(place=Place(rest))


def _bus(reading: _Reading, rest: str) -> None:
    vendor, bus, on_bus, width, widest = _words(rest, 5)
    if vendor in set(Vendor) and on_bus in set(OnBus) and len(reading.cards) < _MOST_CARDS:
        bus = bus_name(bus)
        reading.cards[bus] = Card(
            Vendor(vendor), bus, OnBus(on_bus), width=_int(width) or 0, max_width=_int(widest) or 0
        )


def _smi(reading: _Reading, rest: str) -> None:
    if rest in set(Smi):
        reading.set(smi=Smi(rest))


def _module(reading: _Reading, rest: str) -> None:
    if rest in _KNOWN_MODULES:
        reading.add("modules", rest, len(_KNOWN_MODULES))


def _waits(reading: _Reading, rest: str) -> None:
    pid, start, name = _words(rest, 3)
    if pid.isdecimal() and start.isdecimal():
        reading.add("waiting", Process(int(pid[:10]), int(start[:18]), plain(name)[:32]), _MOST_LINES)


def _fields(reading: _Reading, rest: str) -> None:
    reading.fields = [name.strip() for name in rest.split(",")]


def _card(reading: _Reading, rest: str) -> None:
    """Read a line of nvidia-smi's CSV, and join it with the card on the bus."""
    given = dict(zip(reading.fields, (value.strip() for value in rest.split(",")), strict=False))
    bus = bus_name(given.get("pci.bus_id", ""))
    index = _int(given.get("index", ""))
    key = bus or str(index)
    if key not in reading.cards and len(reading.cards) >= _MOST_CARDS:
        return
    known = reading.cards.get(key, Card(bus=bus))
    remapped = {name: given.get(f"remapped_rows.{name}", "").lower() for name in ("failure", "pending")}
    reading.cards[key] = replace(
        known,
        index=index,
        uuid=plain(given.get("uuid", ""))[:64],
        name=plain(given.get("name", ""))[:64],
        used=_bytes(given.get("memory.used", "")),
        total=_bytes(given.get("memory.total", "")),
        busy=_int(given.get("utilization.gpu", "")),
        temperature=_int(given.get("temperature.gpu", "")),
        power=_float(given.get("power.draw", "")),
        throttle=_bits(_first(given, "clocks_throttle_reasons.active", "clocks_event_reasons.active")),
        ecc=_int(given.get("ecc.errors.uncorrected.volatile.total", "")),
        remap_failed=remapped["failure"] in ("yes", "1"),
        remap_pending=remapped["pending"] in ("yes", "1"),
        recovery_action=_action(given.get("gpu_recovery_action", "")),
        reset_required=any(_RESET in value.lower() for value in given.values()),
        mig=given.get("mig.mode.current", "").lower() == "enabled",
        width=_int(given.get("pcie.link.width.current", "")) or known.width,
        max_width=_int(given.get("pcie.link.width.max", "")) or known.max_width,
    )


def _amd(reading: _Reading, rest: str) -> None:
    bus, busy, used, total, heat, power = _words(rest, 6)
    known = reading.cards.get(bus_name(bus))
    if known:
        heat_, power_ = _int(heat), _int(power)
        reading.cards[known.bus] = replace(
            known,
            busy=_int(busy),
            used=_int(used),
            total=_int(total),
            temperature=None if heat_ is None else heat_ // 1000,
            power=None if power_ is None else power_ / 1e6,
        )


def _holds(reading: _Reading, rest: str) -> None:
    pid, size, uuid, name, runner = _words(rest, 5)
    if pid.isdecimal():
        holder = Holder(
            int(pid[:10]), plain(name.lstrip("-"))[:32], _bytes(size), plain(uuid)[:64], runner == "yes"
        )
        reading.add("holders", holder, _MOST_HOLDERS)


def _kernel(reading: _Reading, rest: str) -> None:
    reading.add("kernel", plain(rest)[:_MOST_TEXT], _MOST_LINES)


def _text(name: str) -> Callable[[_Reading, str], None]:
    return lambda reading, rest: reading.add(name, plain(rest)[:_MOST_TEXT], _MOST_LINES)


_TAKE: dict[str, Callable[[_Reading, str], None]] = {
    "boot": _boot,
    "place": _place,
    "bus": _bus,
    "driver": lambda reading, rest: reading.set(driver=plain(rest)[:40]),
    "library": lambda reading, rest: reading.set(library=plain(rest)[:40]),
    "module": _module,
    "devices": lambda reading, rest: reading.set(devices=rest != "hidden"),
    "waits": _waits,
    "ollama_waits": lambda reading, _: reading.set(ollama_waits=True),
    "smi": _smi,
    "said": _text("said"),
    "fields": _fields,
    "card": _card,
    "holds": _holds,
    "amd": _amd,
    "kernel": _kernel,
    "kernel_log": lambda reading, rest: reading.set(kernel_read=rest == "read"),
    "resumed": lambda reading, rest: reading.set(resumed=_float(rest)),
    "ollama_log": _text("ollama_log"),
}
"""How each kind of line is read, by its first word."""


def bus_name(given: str) -> str:
    """Return a card's place on the bus as the kernel writes it: nvidia-smi has eight digits in front.

    ``00000000:0B:00.0`` becomes ``0000:0b:00.0``; what is no such place becomes "".
    """
    found = re.fullmatch(r"(?:0{4})?([0-9a-f]{4}):([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", given.strip().lower())
    return f"{found[1]}:{found[2]}" if found else ""


def _words(rest: str, number: int) -> list[str]:
    """Return so many words; "" for each that is missing."""
    words = rest.split()[:number]
    return words + [""] * (number - len(words))


def _first(given: dict[str, str], *names: str) -> str:
    return next((given[name] for name in names if name in given), "")


def _int(value: str) -> int | None:
    number = _float(value)
    return None if number is None else int(number)


def _float(value: str) -> float | None:
    """Return a number; None for ``[N/A]``, ``[Unknown Error]`` and whatever else is none."""
    return float(value) if re.fullmatch(r"\d{1,15}(\.\d{1,6})?", value.strip()) else None


def _bytes(mebibytes: str) -> int | None:
    number = _int(mebibytes)
    return None if number is None else number * _MIB


def _bits(value: str) -> int:
    return int(value, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", value.strip()) else 0


def _action(value: str) -> str:
    """Return the recovery action that the driver names; "" where it names none of its words."""
    word = value.strip().lower()
    return word if re.fullmatch(r"[a-z][a-z ]{1,30}", word) else ""
