"""Finds the files that say where alerts go, without Apprise, which most runs of ``deliver`` do not need."""

from pathlib import Path

from gpu_mesh.domain.mesh import Settings
from gpu_mesh.system.paths import Paths

NAMES = ("apprise.yml", "apprise.yaml", "apprise.conf", "apprise.txt")


def expected_place(paths: Paths, settings: Settings) -> Path:
    """Return the path of the configuration, or where it is expected if there is none."""
    if settings.apprise_config:
        return Path(settings.apprise_config)
    return next(
        (paths.config / name for name in NAMES if (paths.config / name).exists()), paths.config / NAMES[0]
    )


def of_alertmanagers(paths: Paths, settings: Settings) -> Path:
    """Return the path of the file that names the Alertmanagers, or where it is expected if there is none."""
    return Path(settings.alertmanager_config or paths.config / "alertmanager.yml")


def fingerprint(place: Path) -> str:
    """Return what changes with the file; the same for each file that cannot be read."""
    try:
        known = place.stat()
    except OSError:
        return f"{place}: none"
    return f"{place}: {known.st_mtime_ns} {known.st_size}"
