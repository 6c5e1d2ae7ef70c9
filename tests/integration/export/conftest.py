"""An HAProxy in front of a site's nodes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from balancer import Balancer, Process, program
from gpu_mesh.standin.server import Standin
from sites import Site


@pytest.fixture
def balance(site: Site) -> Iterator[Callable[..., Balancer]]:
    """A function that puts HAProxy in front of nodes: each a stand-in, or its variables."""
    program("haproxy")
    with ExitStack() as stack:

        def start(
            ports: dict[str, int] | None = None,
            settings: str = "",
            **nodes: Standin | Process | dict[str, object],
        ) -> Balancer:
            made = Balancer(site, settings, ports)
            stack.callback(made.close)
            described = {
                key: node if isinstance(node, dict) else {"url": node.url} for key, node in nodes.items()
            }
            site.describe(described, **made.variables)
            made.publish()
            made.start()
            return made

        yield start


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """A function that starts a stand-in in a process of its own."""
    with ExitStack() as stack:

        def start(**options: tuple[str, ...]) -> Process:
            made = Process(**options)
            stack.callback(made.end)
            return made

        yield start
