"""How tests call every command of gpu-mesh, on a mesh whose only node, ``box``, refuses and was checked."""

SERVES_FOR_EVER = {"run", "demo", "top"}
"""These are tried apart from the others."""

WORDS = {
    "check": ["check", "--deliver"],
    "deliver": ["deliver"],
    "recover": ["recover", "--dry-run"],
    "look": ["look", "box"],
    "status": ["status"],
    "completion": ["completion", "bash"],
    "dashboard": ["dashboard"],
    "stats": ["stats", "--json"],
    "history": ["history"],
    "incidents": ["incidents", "--csv"],
    "report": ["report"],
    "publish": ["publish"],
    "alerts": ["alerts", "list"],
    "silence": ["silence", "list"],
    "ack": ["ack", "box"],
    "best": ["best"],
    "drain": ["drain", "box"],
    "undrain": ["undrain", "box"],
    "wake": ["wake", "box"],
    "cluster": ["cluster"],
    "lead": ["lead"],
    "export": ["export", "haproxy"],
    "failed": ["failed", "nonsense"],
    "init": ["init", "box=127.0.0.1"],
    "validate": ["validate"],
    "simulate": ["simulate", "TRACE"],
}

STATUSES = {"status": {2, 3}, "best": {1}, "look": {1}, "init": {2}, "wake": {2}, "cluster": {2}}
"""Of such a mesh: the exit statuses that these have as usual; the others have 0.

An inventory is there already, so init begins none; the node may not sleep, so wake refuses it; and
the monitor is alone, so there is no cluster to show.
"""
