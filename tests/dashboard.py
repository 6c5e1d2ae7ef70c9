"""The dashboard of the docs, and what it asks Prometheus for."""

import json
from typing import Any

from checkout import ROOT

DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "docs/examples/grafana-dashboard.json").read_text(encoding="utf-8")
)


def asked_by_dashboard() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*asked, *(each.get("definition", "") for each in DASHBOARD["templating"]["list"])]
