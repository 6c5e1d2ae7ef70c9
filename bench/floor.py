"""CPU of two GETs of a node, by how much of the stack asks: what a probe costs above its socket.

Usage: python bench/floor.py [NODES]

One thread asks each node twice over one connection, as a check does. The layers take turns; medians of five.
"""

import http.client
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
import urllib3

from gpu_mesh.domain.mesh import Node
from gpu_mesh.probe.ollama import observe
from nodes import serving

PATHS = ("/api/tags", "/api/ps")


def _sockets(url: str) -> None:
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port or 80)) as connection:
        for path in PATHS:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            json.loads(connection.recv(65536).partition(b"\r\n\r\n")[2])


def _http_client(url: str) -> None:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    for path in PATHS:
        connection.request("GET", path)
        json.loads(connection.getresponse().read())
    connection.close()


def _urllib3(url: str) -> None:
    with urllib3.PoolManager(num_pools=1, maxsize=1) as manager:
        for path in PATHS:
            json.loads(manager.request("GET", url + path).data)


def _requests(url: str) -> None:
    with requests.Session() as session:
        for path in PATHS:
            session.get(url + path).json()


def _observe(url: str) -> None:
    observe(Node("node", "node", url), 0.0, ask_version=False, trust_env=False)


LAYERS: dict[str, Callable[[str], None]] = {
    "sockets": _sockets,
    "http.client": _http_client,
    "urllib3": _urllib3,
    "requests.Session": _requests,
    "the probe of gpu-mesh": _observe,
}


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    taken: dict[str, list[float]] = {name: [] for name in LAYERS}
    with serving() as nodes:
        urls = nodes.urls(number)
        for _ in range(5):
            for name, ask in LAYERS.items():
                began = time.process_time()
                for url in urls:
                    ask(url)
                taken[name].append((time.process_time() - began) / number)
    for name, seconds in taken.items():
        print(f"{name:40} {statistics.median(seconds) * 1000:6.2f} ms CPU a node")
    return 0


if __name__ == "__main__":
    sys.exit(main())
