"""Decides where configuration, state and log are, for every command; reads the environment file.

The installed command reads the same ``environment`` file as the units, so that a run by hand and the timers
share one state.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.system import files

SYSTEM_CONFIG = Path("/etc/gpu-mesh")

RUN_PID = "GPU_MESH_RUN_PID"
"""The environment variable in which gpu-mesh run tells its commands its own process id."""


class Paths(Struct, frozen=True):
    """The folders of one monitor."""

    inventory: tuple[str, ...]  # sources in Ansible's sense: files, folders, plugins' configuration
    config: Path
    state: Path
    log: Path  # the folder of gpu-mesh.log
    volatile: Path | None = None  # a folder in memory, for what must work while the disk is full
    own: Path | None = None  # what only this command writes: the mesh's cache
    for_delivery: Path | None = None  # ``own`` of a command that reads the alerts' credentials
    for_recovery: Path | None = None  # ``own`` of a command that uses the key
    for_public: Path | None = (
        None  # a folder that a web server can reach, which it cannot below the state folder
    )

    @property
    def runtime(self) -> Path:
        """The folder of the triggers and of ``emergency-….json``; the state folder if none is given."""
        return self.volatile or self.state

    @property
    def cache(self) -> Path:
        """The folder of the mesh's cache."""
        return (self.own or self.state) / "cache"

    @property
    def state_file(self) -> Path:
        """The state between ticks."""
        return self.state / "state.json"

    @property
    def log_file(self) -> Path:
        """The central log."""
        return self.log / "gpu-mesh.log"

    @property
    def history_error(self) -> Path:
        """Why the newest check is not in the history; it exists only then."""
        return self.state / "history.error"

    @property
    def recover_wanted(self) -> Path:
        """Its appearance starts a recovery."""
        return self.runtime / "recover.wanted"

    @property
    def deliver_wanted(self) -> Path:
        """Its appearance starts a delivery."""
        return self.runtime / "deliver.wanted"

    @property
    def publish_wanted(self) -> Path:
        """Its appearance has the page written."""
        return self.runtime / "publish.wanted"

    @property
    def www(self) -> Path:
        """The page and its files, for those who may look at the monitor."""
        return self.state / "www"

    @property
    def public(self) -> Path:
        """The same for strangers."""
        return self.for_public or self.state / "public"

    @property
    def look_here_wanted(self) -> Path:
        """Its appearance starts a look at the GPUs of the monitor's own host."""
        return self.runtime / "look-here.wanted"

    def of_delivery(self) -> "Paths":
        """Return the folders for a command that reads the alerts' credentials.

        The state folder is written by the check, which reads what nodes send. What decides where an alert
        goes, or what runs beside the key, is not read from there.
        """
        return replace(self, own=self.for_delivery)

    def of_recovery(self) -> "Paths":
        """Return the folders for a command that uses the key."""
        return replace(self, own=self.for_recovery)

    def environment(self) -> dict[str, str]:
        """Return the environment variables with which another process uses the same folders."""
        further = {
            "GPU_MESH_RUNTIME_DIR": self.volatile,
            "GPU_MESH_DELIVER_DIR": self.for_delivery,
            "GPU_MESH_RECOVER_DIR": self.for_recovery,
            "GPU_MESH_PUBLIC_DIR": self.for_public,
        }
        return {
            "GPU_MESH_CONFIG_DIR": str(self.config),
            "GPU_MESH_STATE_DIR": str(self.state),
            "GPU_MESH_LOG_DIR": str(self.log),
            **{name: str(folder) for name, folder in further.items() if folder},
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
    # With another state folder, the installed monitor's other folders are not meant.
    further = environ if state_dir or environ.get("GPU_MESH_STATE_DIR") else settings
    from_settings = tuple(filter(None, settings.get("GPU_MESH_INVENTORY", "").split(os.pathsep)))
    return Paths(
        inventory=inventory or from_settings or (str(config / "inventory"),),
        config=config,
        state=state,
        log=log,
        volatile=_folder(further, "GPU_MESH_RUNTIME_DIR"),
        for_delivery=_folder(further, "GPU_MESH_DELIVER_DIR"),
        for_recovery=_folder(further, "GPU_MESH_RECOVER_DIR"),
        for_public=_folder(further, "GPU_MESH_PUBLIC_DIR"),
    )


def _folder(settings: Mapping[str, str], name: str) -> Path | None:
    return Path(settings[name]) if settings.get(name) else None


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    """Return a folder of the environment; None: it is not given, or relative, which XDG says to ignore."""
    given = Path(environ.get(name, ""))
    return given if given.is_absolute() else None


_LARGEST = 1_000_000
"""Bytes that the file ``environment`` may have."""


def _environment_file(path: Path) -> dict[str, str]:
    """Read the ``KEY=value`` lines that the role writes, as systemd's EnvironmentFile= does."""
    try:
        # As in the process's own environment: a folder's name may have bytes that are not UTF-8.
        lines = files.read(path, _LARGEST).decode("utf-8", errors="surrogateescape").splitlines()
    except (OSError, files.NoFileError):
        return {}
    pairs = (
        line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", ";"))
    )
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
