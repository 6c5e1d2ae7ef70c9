"""Says in a few letters what an inventory means for the mesh, so that monitors can compare theirs. Pure."""

import hashlib

import msgspec
from msgspec.structs import replace

from gpu_mesh.domain.mesh import Mesh, Node, Settings

_DEFAULTS = Settings()


def of_mesh(mesh: Mesh) -> str:
    """Return the fingerprint of what must be the same on every monitor.

    What may differ is left out: paths, Python, scope, heartbeat and HAProxy of the monitor itself, and how a
    node is reached, which is another way for the monitor that is on the same machine.
    """
    same = Mesh(tuple(map(_node, mesh.nodes)), _settings(mesh.settings))
    return hashlib.sha256(msgspec.json.encode(same)).hexdigest()[:12]


def _settings(settings: Settings) -> Settings:
    own = {
        each: getattr(_DEFAULTS, each)
        for each in settings.__struct_fields__
        if each.startswith("haproxy") or each in _MAY_DIFFER
    }
    return replace(settings, **own)


_MAY_DIFFER = (
    "scope",
    "python",
    "heartbeat_url",
    "canary",
    "recovery_playbooks",
    "alert_templates",
    "apprise_config",
    "alertmanager_config",
    "proxy_from_environment",
    "publish",
    "history_max",
)


def _node(node: Node) -> Node:
    tunnel = replace(node.tunnel, identity_file="") if node.tunnel else None
    return replace(
        node,
        url="",
        on_monitor=False,
        ssh_host="",
        ssh_port=0,
        login=None,
        headers={},
        ca_file="",
        tunnel=tunnel,
    )
