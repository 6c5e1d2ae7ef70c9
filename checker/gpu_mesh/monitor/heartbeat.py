"""Reports to a dead man's switch after each check that the monitor lives; when it stops, the switch alerts.

The protocol is that of healthchecks.io: a GET of the URL for a good tick, with ``/fail`` for a bad one.
"""

from pathlib import Path
from urllib.parse import urlsplit

from gpu_mesh.domain.observation import Fault
from gpu_mesh.probe.errors import GetError
from gpu_mesh.probe.http_client import Session, read_private

PATIENCE = 5.0
"""Seconds for the whole request; a check waits for it at its end, when everything is saved."""


def beat(url: str, *, good: bool, trust_env: bool) -> str:
    """Send one heartbeat; return why it did not arrive ("": it did), without the URL, which is a secret.

    Args:
        url: where to send it; ``@/path``: the file that contains the URL.
        good: whether the tick could probe every node.
        trust_env: whether a proxy named in the environment is used.
    """
    try:
        if url.startswith("@/"):
            url = read_private(Path(url[1:]), f"the file {url[1:]} of mesh_monitor_heartbeat_url")
        with Session(url.rstrip("/"), PATIENCE, trust_env=trust_env) as session:
            answer = session.get("" if good else "/fail")
    except GetError as error:
        return error.detail if error.fault is Fault.UNUSABLE else error.fault.value
    if 300 <= answer.status < 400:  # it is not followed: the switch has counted nothing
        to = urlsplit(answer.location)
        return f"HTTP {answer.status}, a redirect{f' to {to.scheme}://{to.hostname}' if to.hostname else ''}"
    return "" if answer.status < 300 else f"HTTP {answer.status}"
