"""Acts out a registry of models, and the pull of one from it, for server.py.

What is said is that of Ollama 0.12.11 (``PullModel`` in server/images.go, ``downloadBlob`` in
server/download.go): a line of JSON each 60 ms while a layer comes, numbers that are 0 left out.
"""

import hashlib
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_mesh.standin.server import Exchange

PIECES = 20
"""Lines of progress that a layer has."""

_MANIFEST = re.compile(r"/v2/library/([\w.-]+)/manifests/([\w.-]+)")
_CONFIG = 486  # bytes


def manifest(exchange: "Exchange") -> None:
    """Answer ``GET /v2/library/MODEL/manifests/TAG`` as the registry does."""
    found = _MANIFEST.fullmatch(exchange.path)
    name = f"{found[1]}:{found[2]}" if found else ""
    size = exchange.standin.registry.get(name)
    if size is None:
        errors = [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]
        exchange.send_json(404, {"errors": errors})
        return
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    exchange.send_json(
        200,
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {"digest": _digest(f"{name} config"), "size": _CONFIG},
            "layers": [{"digest": _digest(name), "size": size}],
        },
    )


def pull(exchange: "Exchange") -> None:
    """Answer ``POST /api/pull``: stream the progress; at its end the model is there."""
    standin = exchange.standin
    try:
        name = str(json.loads(exchange.body())["model"])
    except (ValueError, KeyError, TypeError):
        exchange.send_json(400, {"error": "missing request body"})
        return
    whole = name if ":" in name else f"{name}:latest"
    standin.pulled.append(whole)
    exchange.begin_stream()
    exchange.send_line({"status": "pulling manifest"})
    size = standin.registry.get(whole)
    if size is None:
        exchange.send_line({"error": "pull model manifest: file does not exist"})
    else:
        digest = _digest(whole)
        status = f"pulling {digest[7:19]}"
        for piece in range(PIECES + 1):
            completed = size * piece // PIECES
            line = {"status": status, "digest": digest, "total": size}
            exchange.send_line({**line, "completed": completed} if completed else line)
            standin.wait(standin.pull_pause)
        for words in ("verifying sha256 digest", "writing manifest", "success"):
            if words == "success":
                standin.models = (*standin.models, whole)
            exchange.send_line({"status": words})
    exchange.end_stream()


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
