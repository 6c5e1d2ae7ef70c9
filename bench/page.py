"""CPU and size of the page, and of the metrics: of 4, 30 and 1,000 nodes with a history of 90 days.

Usage: python bench/page.py [ROUNDS]

Rendering is measured in this process, with all imports done; medians of its CPU are shown.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import pages  # the same meshes as in the tests
from gpu_mesh.publishing import metrics, page, view
from gpu_mesh.publishing.past import Past
from gpu_mesh.reporting.report import Report
from measure import Row, bounded

BUDGETS = {4: (0.5, 40), 30: (0.5, 40), 1000: (0.5, 700)}
"""By the number of nodes: seconds of CPU, KiB."""

METRICS = (1000, 0.05, 2048)
"""Nodes, seconds of CPU, KiB."""


def rows(rounds: int) -> Iterator[Row]:
    for nodes, (seconds, kib) in BUDGETS.items():
        report, past = pages.mesh(nodes, dict.fromkeys(range(1, nodes, 29), pages.OFFLINE)), pages.past(nodes)
        own, size = measured(partial(drawn, report, past), rounds)
        yield bounded(f"CPU of the page, {nodes:,} nodes", [own], seconds)
        yield bounded(f"size of the page, {nodes:,} nodes", [size * 1024], kib * 1024, "B")
    nodes, seconds, kib = METRICS
    own, size = measured(partial(metrics.text, pages.mesh(nodes)), rounds)
    yield bounded(f"CPU of the metrics, {nodes:,} nodes", [own], seconds)
    yield bounded(f"size of the metrics, {nodes:,} nodes", [size * 1024], kib * 1024, "B")


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    good = True
    print("nodes   CPU of rendering   budget      size    budget")
    for nodes, (seconds, kib) in BUDGETS.items():
        troubled = dict.fromkeys(range(1, nodes, 29), pages.OFFLINE)
        report, past = pages.mesh(nodes, troubled), pages.past(nodes)
        own, size = measured(partial(drawn, report, past), rounds)
        good = good and own <= seconds and size <= kib
        print(f"{nodes:5d} {own * 1000:12.0f} ms {seconds * 1000:12.0f} ms {size:6.0f} KiB {kib:5d} KiB")
    nodes, seconds, kib = METRICS
    own, size = measured(partial(metrics.text, pages.mesh(nodes)), rounds)
    good = good and own <= seconds and size <= kib
    print("\nThe metrics:")
    print(f"{nodes:5d} {own * 1000:12.0f} ms {seconds * 1000:12.0f} ms {size:6.0f} KiB {kib:5d} KiB")
    return 0 if good else 1


def drawn(report: Report, past: Past) -> str:
    return page.html(view.page(report, past))


def measured(write: Callable[[], str], rounds: int) -> tuple[float, float]:
    """Return the median of the CPU that it takes (seconds), and the size of the text (KiB)."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        text = write()
        taken.append(time.process_time() - began)
    return statistics.median(taken), len(text.encode()) / 1024


if __name__ == "__main__":
    sys.exit(main())
