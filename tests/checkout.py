"""Where the checkout is, for tests of what stands in it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests/programs"
