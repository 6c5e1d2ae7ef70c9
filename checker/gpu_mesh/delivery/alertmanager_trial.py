"""Posts a test to each Alertmanager: an alert that ends by itself. For the alerts command."""

from concurrent.futures import ThreadPoolExecutor

from gpu_mesh.alerting import open_alerts
from gpu_mesh.alerting.alertmanager_alerts import Outcome
from gpu_mesh.delivery.place import of_alertmanagers
from gpu_mesh.domain.alert import Level
from gpu_mesh.domain.event import Severity, event
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths

TEST = "GpuMeshTest"

TEST_LASTS = 120.0
"""Seconds after which a test alert ends by itself: longer than an Alertmanager waits before it notifies."""

_SUMMARY = "This is a test of the alerts of the GPU mesh: nothing is wrong"


def send(paths: Paths, mesh: Mesh, log: Log, now: float, tag: str = "") -> tuple[list[str], bool]:
    """Post a test to each Alertmanager; return a report for people, and whether all took it.

    Where no file names one, the report is empty.

    Args:
        paths: where the file is.
        mesh: what is watched, with the monitor's settings.
        log: takes each outcome.
        now: Unix seconds.
        tag: what the alert has as its tag; "": none.
    """
    settings = mesh.settings
    place = of_alertmanagers(paths, settings)
    if not place.exists() and not settings.alertmanager_config:
        return [], True
    from gpu_mesh.delivery import alertmanager_api, alertmanager_config  # only where there is one

    found = alertmanager_config.load(place)
    lines = [f"PROBLEM  {text}" for text in found.problems] + [f"note     {text}" for text in found.notes]
    labels = {"tags": f",{tag},"} if tag else {}
    alert = open_alerts.monitor_alert(
        mesh, TEST, Level.WARNING, now, _SUMMARY, "none: it ends by itself", labels
    )

    def post(to: alertmanager_config.Alertmanager) -> Outcome:
        proxy = settings.proxy_from_environment
        return alertmanager_api.post(to, (), (alert,), now, now + TEST_LASTS, trust_env=proxy)

    with ThreadPoolExecutor(max(1, len(found.alertmanagers))) as pool:
        outcomes = list(pool.map(post, found.alertmanagers))
    for to, outcome in zip(found.alertmanagers, outcomes, strict=True):
        what = f"Alertmanager {to.label} ({to.id}, {to.place})"
        lines.append(
            f"FAILED   {what}: {outcome.reason}"
            if outcome.reason
            else f"ok       {what}: {TEST}, for {TEST_LASTS:.0f} s"
        )
        severity = Severity.WARNING if outcome.reason else Severity.INFO
        log.write([event("alert_test", severity, target=to.id, service=what, reason=outcome.reason)], now)
    return lines, not found.problems and not any(outcome.reason for outcome in outcomes)
