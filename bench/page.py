"""CPU and size of the page: of 4, 30 and 1,000 nodes with a history of 90 days.

Usage: python bench/page.py [ROUNDS]

Rendering is measured in this process, with all imports done; medians of its CPU are shown.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import pages  # the same meshes as in the tests
from gpu_mesh.publishing import page, view

BUDGETS = {4: (0.5, 40), 30: (0.5, 40), 1000: (0.5, 700)}
"""By the number of nodes: seconds of CPU, KiB."""


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    good = True
    print("nodes   CPU of rendering   budget      size    budget")
    for nodes, (seconds, kib) in BUDGETS.items():
        troubled = dict.fromkeys(range(1, nodes, 29), pages.OFFLINE)
        report, past = pages.mesh(nodes, troubled), pages.past(nodes)
        taken = []
        for _ in range(rounds):
            began = time.process_time()
            text = page.html(view.page(report, past))
            taken.append(time.process_time() - began)
        own, size = statistics.median(taken), len(text.encode()) / 1024
        good = good and own <= seconds and size <= kib
        print(f"{nodes:5d} {own * 1000:12.0f} ms {seconds * 1000:12.0f} ms {size:6.0f} KiB {kib:5d} KiB")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
