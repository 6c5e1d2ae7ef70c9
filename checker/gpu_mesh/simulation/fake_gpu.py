"""Makes up what a look at a host's GPUs shows, from the words of a trace. Pure.

For fake_recovery.py and simulator.py, in the place of playbooks/recovery/files/gpu.sh on a real host.
"""

from enum import StrEnum

from msgspec.structs import replace

from gpu_mesh.domain.gpu import Card, GpuFacts, Holder, OnBus, Process, Smi


class Gpu(StrEnum):
    """What a host's only card shows, in the words of a trace."""

    WELL = "well"
    LOST = "lost"
    STUCK = "stuck"
    MISMATCH = "mismatch"
    RESET_NEEDED = "reset_needed"
    UVM_MISSING = "uvm_missing"
    HOT = "hot"
    HELD = "held"


GPUS = {
    Gpu.WELL: "It is well",
    Gpu.LOST: "It has fallen off the bus",
    Gpu.STUCK: "Its driver hangs, and so does whoever asks it",
    Gpu.MISMATCH: "Its driver was updated, but the old one is still loaded",
    Gpu.RESET_NEEDED: "The driver asks for a reset",
    Gpu.UVM_MISSING: "The module nvidia_uvm is not loaded",
    Gpu.HOT: "It is slowed down by heat",
    Gpu.HELD: "A runner of Ollama holds its memory, whatever is loaded",
}
"""The meaning of each word; docs/simulate.md says the same."""

BOOT = "the first boot"
_CARD = Card(
    bus="0000:0b:00.0",
    on_bus=OnBus.OK,
    index=0,
    uuid="GPU-0",
    name="NVIDIA GeForce RTX 3090",
    used=5 * 2**30,
    total=24 * 2**30,
    busy=0,
    temperature=41,
    recovery_action="none",
)
_WELL = GpuFacts(boot=BOOT, driver="570.133.07", modules=("nvidia", "nvidia_uvm"), smi=Smi.OK, cards=(_CARD,))
_SHOWN = {
    Gpu.WELL: _WELL,
    Gpu.LOST: replace(
        _WELL,
        smi=Smi.FAILED,
        said=("Unable to determine the device handle for GPU0: 0000:0B:00.0: GPU is lost.",),
        cards=(Card(bus="0000:0b:00.0", on_bus=OnBus.LOST),),
    ),
    Gpu.STUCK: replace(
        _WELL,
        smi=Smi.STUCK,
        waiting=(Process(4711, 887201, "nvidia-smi"),),
        cards=(Card(bus="0000:0b:00.0", on_bus=OnBus.OK),),
    ),
    Gpu.MISMATCH: replace(
        _WELL,
        smi=Smi.FAILED,
        said=("Failed to initialize NVML: Driver/library version mismatch", "NVML library version: 570.153"),
        cards=(Card(bus="0000:0b:00.0", on_bus=OnBus.OK),),
    ),
    Gpu.RESET_NEEDED: replace(_WELL, cards=(replace(_CARD, recovery_action="reset"),)),
    Gpu.UVM_MISSING: replace(_WELL, modules=("nvidia",)),
    Gpu.HOT: replace(_WELL, cards=(replace(_CARD, busy=99, temperature=91, throttle=0x20),)),
    Gpu.HELD: replace(
        _WELL,
        cards=(replace(_CARD, used=8 * 2**30),),
        holders=(Holder(5120, "ollama", 8 * 2**30, "GPU-0", runner=True),),
        loaded=0,
    ),
}


def look(gpu: Gpu, at: float, boots: int = 0) -> GpuFacts:
    """Return what a look shows at that Unix time, after so many reboots."""
    return replace(_SHOWN[gpu], at=at, boot=f"{boots} boots later" if boots else BOOT)
