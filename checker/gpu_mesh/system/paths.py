"""Decides where configuration, state and log are, for every command; reads the environment file.

The installed command reads the same ``environment`` file as the units, so that a run by hand and the timers
share one state.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

SYSTEM_CONFIG = Path("/etc/gpu-mesh")

RUN_PID = "GPU_MESH_RUN_PID"
"""The environment variable in which gpu-mesh run tells its commands its own process id."""


class Paths(Struct, frozen=True):
    """The folders of one monitor."""

    inventory: tuple[str, ...]  # sources in Ansible's sense: files, folders, plugins' configuration
    config: Path
    state: Path
    log: Path  # the folder of gpu-mesh.log

    @property
    def state_file(self) -> Path:
        """The state between ticks."""
        return self.state / "state.json"

    @property
    def log_file(self) -> Path:
        """The central log."""
        return self.log / "gpu-mesh.log"

    @property
    def recover_wanted(self) -> Path:
        """Its appearance starts a recovery."""
        return self.state / "recover.wanted"

    @property
    def deliver_wanted(self) -> Path:
        """Its appearance starts a delivery."""
        return self.state / "deliver.wanted"

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which another process uses the same folders."""
        return {
            "GPU_MESH_CONFIG_DIR": str(self.config),
            "GPU_MESH_STATE_DIR": str(self.state),
            "GPU_MESH_LOG_DIR": str(self.log),
        }


def find(
    environ: Mapping[str, str], inventory: tuple[str, ...] = (), state_dir: str = "", *, as_root: bool
) -> Paths:
    """Return the folders: an option wins over the environment, that over its file, that over the default.

    Args:
        environ: the process's environment.
        inventory: the command line's ``-i`` options.
        state_dir: the command line's ``--state-dir``.
        as_root: whether to use the system's defaults, not the user's.
    """
    home = _absolute(environ, "HOME") or Path("/")
    config = (_absolute(environ, "XDG_CONFIG_HOME") or home / ".config") / "gpu-mesh"
    state = (_absolute(environ, "XDG_STATE_HOME") or home / ".local/state") / "gpu-mesh"
    log = state / "log"
    # os.path, because it takes a home that this user may not read for a missing one.
    if as_root or (not os.path.exists(config) and os.path.exists(SYSTEM_CONFIG / "environment")):  # noqa: PTH110
        config, state, log = SYSTEM_CONFIG, Path("/var/lib/gpu-mesh"), Path("/var/log/gpu-mesh")
    config = Path(environ.get("GPU_MESH_CONFIG_DIR") or config)
    settings = {**_environment_file(config / "environment"), **environ}
    if state_dir:
        state = Path(state_dir).absolute()
        log = state / "log"
    else:
        state = Path(settings.get("GPU_MESH_STATE_DIR") or state)
        log = Path(settings.get("GPU_MESH_LOG_DIR") or log)
    config = Path(settings.get("GPU_MESH_CONFIG_DIR") or config)
    from_settings = tuple(filter(None, settings.get("GPU_MESH_INVENTORY", "").split(os.pathsep)))
    return Paths(
        inventory=inventory or from_settings or (str(config / "inventory"),),
        config=config,
        state=state,
        log=log,
    )


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    """Return a folder of the environment; None: it is not given, or relative, which XDG says to ignore."""
    given = Path(environ.get(name, ""))
    return given if given.is_absolute() else None


def _environment_file(path: Path) -> dict[str, str]:
    """Read the ``KEY=value`` lines that the role writes, as systemd's EnvironmentFile= does."""
    try:
        # As in the process's own environment: a folder's name may have bytes that are not UTF-8.
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    pairs = (
        line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", ";"))
    )
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
