"""What the history has of GPUs, in words: the highest figures of each card."""

from datetime import UTC

from factories import NOW
from gpu_mesh.domain.history import GpuSample
from gpu_mesh.reporting import past_gpus

GIB = 2**30
HOURS = (
    GpuSample("gpu1", "GPU 0", NOW - 7200, 8 * GIB, 24 * GIB, 60, 200.5, 90),
    GpuSample("gpu1", "GPU 0", NOW - 3600, 2 * GIB, 24 * GIB, 83, 150.0, 99, throttled=True),
    GpuSample("gpu1", "GPU 1", NOW - 3600),
    GpuSample("gpu2", "GPU 0", NOW - 3600, 3 * GIB),
)


def cards(*of: GpuSample) -> list[str]:
    return past_gpus.cards(of, {"gpu1": "Desk"}, NOW - 86400, NOW, UTC).splitlines()


def test_each_card_is_told_with_its_highest_figures_of_all_hours() -> None:
    head, _, header, *rows = cards(*HOURS)
    assert head == "The highest figures since 2027-01-14 08:00 UTC (1 d):"
    assert [row.split("  ")[0] for row in rows] == ["Desk", "Desk", "gpu2"]
    columns = [[cell.strip() for cell in row.split("  ") if cell] for row in (header, *rows)]
    assert columns[1][1:] == ["8.0 of 24.0 GiB", "99%", "83 °C", "200 W", "in 1 hour", "2 hours", "GPU 0"]
    assert columns[2][1:] == ["–", "–", "–", "–", "never", "1 hour", "GPU 1"]
    assert columns[3][1] == "3.0 GiB"


def test_without_any_look_it_says_so() -> None:
    assert cards()[1:] == ["nobody has seen a GPU, as far as the history reaches"]
