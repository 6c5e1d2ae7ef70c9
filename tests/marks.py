"""How a test says when it is run."""

from typing import Any

import pytest


def soak(*values: Any, name: str | None = None) -> Any:
    """Return a case of a parametrised test for `make soak` alone: `make test` has another one of its kind."""
    return pytest.param(*values, id=name, marks=pytest.mark.soak)
