"""A stand-in for nvidia-smi, for the tests, the demo and trying out a mesh without a GPU.

``put`` writes a program of that name. What it answers stands in a file beside it and may be changed at any
time: a case of CASES, with ``:argument`` where it takes one, then lines ``FIELD=VALUE`` (of every card) and
``app=NUMBER MIB`` (a process that holds memory of the first card). It needs the standard library only, so
that it starts quickly. Each case says which version the real one had that printed this.
"""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Card = Mapping[str, str]

OLD_FIELDS = {  # known to every nvidia-smi that was looked at, from 466 to 610
    "index": "0",
    "pci.bus_id": "00000000:0C:00.0",
    "uuid": "GPU-00000000-0000-0000-0000-000000000000",
    "name": "NVIDIA GeForce RTX 2080 SUPER",
    "memory.used": "214",
    "memory.total": "8192",
    "utilization.gpu": "0",
    "temperature.gpu": "40",
    "power.draw": "39.32",
    "clocks_throttle_reasons.active": "0x0000000000000001",
    "ecc.errors.uncorrected.volatile.total": "[N/A]",
}
MIG_FIELD = {"mig.mode.current": "[N/A]"}  # from 466 on
NEW_FIELDS = {  # from 590 on
    "remapped_rows.pending": "[N/A]",
    "remapped_rows.failure": "[N/A]",
    "gpu_recovery_action": "None",
}
GEFORCE = {**OLD_FIELDS, **MIG_FIELD, **NEW_FIELDS}
H100 = {
    **GEFORCE,
    "name": "NVIDIA H100 80GB HBM3",
    "memory.used": "0",
    "memory.total": "81559",
    "temperature.gpu": "41",
    "power.draw": "69.85",
    "ecc.errors.uncorrected.volatile.total": "0",
    "mig.mode.current": "Disabled",
    "remapped_rows.pending": "No",
    "remapped_rows.failure": "No",
}
RESET = dict.fromkeys(
    ("utilization.gpu", "temperature.gpu", "power.draw", "clocks_throttle_reasons.active"),
    "[GPU requires reset]",
)
NAMES = ("index", "pci.bus_id", "uuid", "name", "memory.used", "memory.total")


class Case(NamedTuple):
    """What it answers: values of the cards, or what is wrong and with which status it ends.

    ``lost`` is the index of a card that is no longer there: whoever asks for all cards, or for that one, gets
    ``says``. With ``goes_on`` the other cards follow all the same.
    """

    cards: Sequence[Card] = ()
    says: str = ""
    status: int = 0
    lost: int | None = None
    goes_on: bool = False


def _eight(**changes: str) -> list[Card]:
    """Eight cards; the changes are the first one's."""
    cards: list[Card] = []
    for index in range(8):
        own = {
            "index": f"{index}",
            "pci.bus_id": f"00000000:{index + 1:02X}:00.0",
            "uuid": f"GPU-00000000-0000-0000-0000-{index:012}",
        }
        cards.append({**H100, **own, **(changes if index == 0 else {})})
    return cards


NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.178"
LOST = "Unable to determine the device handle for GPU"

CASES: dict[str, Case] = {
    "one": Case([GEFORCE]),  # 595.71.05
    "slow": Case([GEFORCE]),  # :seconds until it answers
    "stuck": Case([GEFORCE]),  # :path that it reads first, to the end
    "eight": Case(_eight()),  # 590.48.01, recorded of one card
    "mig": Case(  # 590.48.01
        [{**H100, "utilization.gpu": "[N/A]", "mig.mode.current": "Enabled", "memory.used": "59"}]
    ),
    "without_values": Case([{field: GEFORCE[field] if field in NAMES else "[N/A]" for field in GEFORCE}]),
    "old": Case([OLD_FIELDS]),  # made up: no list of fields from before 466 was found
    "466": Case([{**OLD_FIELDS, **MIG_FIELD}]),
    "reset": Case(_eight(**RESET, gpu_recovery_action="Reset")),  # the values: 2025; the action: 2026
    # 369.30; the status: nvidia-smi's manual
    "lost": Case(
        _eight(), f"{LOST} 0000:03:00.0: GPU is lost.  Reboot the system to recover this GPU", 15, 2
    ),
    # 2024; the status is not known
    "lost_unknown": Case(_eight(), f"{LOST}0000:03:00.0: Unknown Error", 255, 2),
    # 2025: the others are listed, and it ends well
    "lost_goes_on": Case(_eight(), f"{LOST}2: 0000:03:00.0: Unknown Error", 0, 2, goes_on=True),
    "mismatch": Case(says=MISMATCH, status=18),  # 580.178; the status: nvml.h
    "no_driver": Case(says=NO_DRIVER, status=9),  # 2022
    "no_devices": Case(says="No devices were found", status=6),  # the status: nvidia-smi's manual
    "container_lost": Case(says="Failed to initialize NVML: Unknown Error", status=255),
}


def put(folder: Path, case: str = "one", *lines: str) -> Path:
    """Write ``nvidia-smi`` into the folder, with what it answers; return its path."""
    program = folder / "nvidia-smi"
    folder.mkdir(parents=True, exist_ok=True)
    answers(program, case, *lines)
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from gpu_mesh.standin.nvidia_smi import main\n"
        "sys.exit(main(__file__, sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    return program


def answers(program: Path, case: str, *lines: str) -> None:
    """Change what a program that ``put`` has written answers from now on."""
    if case.partition(":")[0] not in CASES:
        raise ValueError(f"no case {case}; there are {', '.join(CASES)}")
    new = program.with_suffix(".new")
    new.write_text("\n".join((case, *lines)))
    new.replace(program.with_suffix(".case"))


def main(program: str, arguments: Sequence[str]) -> int:
    """Answer one question on standard output, errors too, as the real one does; return the exit status."""
    first, *lines = Path(program).with_suffix(".case").read_text().splitlines()
    name, _, argument = first.partition(":")
    case = CASES[name]
    if name == "slow":
        time.sleep(float(argument))
    elif name == "stuck":
        Path(argument).read_bytes()
    options = dict(each.split("=", 1) for each in arguments if "=" in each)
    card = arguments[arguments.index("-i") + 1] if "-i" in arguments else ""
    if fields := options.get("--query-gpu"):
        return _query(case, fields.split(","), card, dict(line.split("=", 1) for line in lines))
    return _apps(case, [line.removeprefix("app=") for line in lines if line.startswith("app=")])


def _query(case: Case, fields: Sequence[str], card: str, changes: Card) -> int:
    for field in fields:
        if case.cards and field not in case.cards[0]:
            return _say(f'Field "{field}" is not a valid field to query.\n', 2)
    if not case.cards:
        return _say(case.says, case.status)
    chosen = [number for number, values in enumerate(case.cards) if not card or _is(values, card)]
    if not chosen:
        return _say("No devices were found", 6)
    if case.lost in chosen:
        _say(case.says, 0)
        if not case.goes_on or chosen == [case.lost]:
            return case.status
    for number in chosen:
        if number != case.lost:
            values = {**case.cards[number], **changes}
            _say(", ".join(values[field] for field in fields), 0)
    return case.status if case.lost in chosen else 0


def _is(values: Card, card: str) -> bool:
    """Whether it is that card: by its index, or its place on the bus with a short or a long domain."""
    place = re.sub("^0000(?=....:)", "", values["pci.bus_id"]).lower()
    return card.lower() in {values["index"], place, values["pci.bus_id"].lower()}


def _apps(case: Case, holders: Sequence[str]) -> int:
    if not case.cards or (case.lost is not None and not case.goes_on):
        return _say(case.says, case.status)
    for holder in holders:
        number, memory = holder.split(" ", 1)
        _say(f"{number}, {memory}, {case.cards[0]['uuid']}", 0)
    return 0


def _say(text: str, status: int) -> int:
    sys.stdout.write(f"{text}\n")
    return status
