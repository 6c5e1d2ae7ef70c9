"""Runs one recovery playbook for one node. Only this module uses ansible-runner.

hosts/joint_run.py runs one for several nodes.
"""

import configparser
import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible_runner
import msgspec

from gpu_mesh.domain.causes import Action
from gpu_mesh.domain.mesh import Node, Settings
from gpu_mesh.hosts import bounded_ssh, plain_ssh, playbook_result, reaper
from gpu_mesh.hosts.playbook_result import Looked, PlaybookResult
from gpu_mesh.inventory import cache

HOLD_MARGIN = 30
"""Seconds that a lease lasts beyond the time limit of the playbook that takes it."""

LONGEST_LOOK = 60.0
"""Seconds that a look at GPUs may take in all, besides one for each host: a host may be slow to log in to."""

_DAY = 86400.0

_CONFIG = "[defaults]\ninternal_poll_interval = 0.005\n"
"""While it waits for hosts, Ansible looks for their answers a thousand times a second, and looks through all
its hosts each time. There is no environment variable for this."""

_BULKY = ("login", "headers", "expected_models", "alert_tags", "groups")
"""Fields of a node that no playbook needs; headers may contain a token."""


def find(action: Action, folder: str = "") -> Path:
    """Return the action's playbook: the operator's own, else the wheel's, else the checkout's.

    Args:
        action: the action.
        folder: the setting ``mesh_monitor_recovery_playbooks``; "": none.

    Raises:
        FileNotFoundError: there is none; the installation is broken.
    """
    return _find(action.value, folder)


def _find(name: str, folder: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    folders = [Path(folder)] if folder else []
    folders += [package / "playbooks", package.parents[1] / "playbooks" / "recovery"]
    for candidate in folders:
        path = candidate / f"{name}.yml"
        if path.is_file():
            return path.absolute()
    raise FileNotFoundError(f"no playbook {name}.yml in {', '.join(map(str, folders))}")


def run(
    playbook: Path,
    node: Node,
    settings: Settings,
    inventory: tuple[str, ...],
    *,
    on_monitor: bool = False,
    extra: Mapping[str, Any] | None = None,
    own: bool = False,
    timeout: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> PlaybookResult:
    """Run a playbook for one node.

    Args:
        playbook: its absolute path.
        node: the node; its resolved values reach the playbook as ``gpu_mesh_node``.
        settings: the monitor's.
        inventory: the sources in Ansible's sense.
        on_monitor: act on this host over a local connection, whatever the inventory says: for the tunnel.
        extra: further extra vars: ``gpu_mesh_addresses`` (where to ask for Ollama on its own host; a restart
            needs it), ``gpu_mesh_owner`` (of the lease), ``gpu_mesh_cause``, ``gpu_mesh_attempt``,
            ``gpu_mesh_cooldown`` (seconds), ``gpu_mesh_look_only``, ``gpu_mesh_spares_work``.
        own: it is an operator's own, which need not report what it did: if it ends well, that is enough.
        timeout: seconds; None: the settings' ``recovery_timeout``.
        stop: asked twice a second; once it is true, the playbook is ended with all its processes.
    """
    limit = settings.recovery_timeout if timeout is None else timeout
    began = time.monotonic()
    events: list[dict[str, Any]] = []

    def keep(event: dict[str, Any]) -> None:
        if playbook_result.counts(event):
            events.append(event)

    with private_folder() as folder:
        local = here(folder) if on_monitor or node.on_monitor else {}
        values = {"gpu_mesh_node": told_of(node), **values_of_all(settings, limit), **local, **(extra or {})}
        runner, printed = start(folder, playbook, node.key, inventory, values, keep, limit, stop)
    contacted, now = "the monitor" if on_monitor else node.key, time.time()
    result = playbook_result.read_result(playbook, node.key, events, runner.rc, printed, contacted, now)
    if own:
        result = playbook_result.of_own_playbook(result)
    if runner.status in ("timeout", "canceled"):
        result = playbook_result.cut_off(result, limit, stopped=runner.status == "canceled")
    return msgspec.structs.replace(result, seconds=time.monotonic() - began)


def look_at_gpus(
    nodes: Sequence[Node],
    inventory: tuple[str, ...],
    folder: str = "",
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Looked]:
    """Look at the GPUs of several nodes' hosts at once; return what each has shown, by the node's key.

    Args:
        nodes: the nodes. One whose name is a pattern is not looked at.
        inventory: the sources in Ansible's sense.
        folder: the setting ``mesh_monitor_recovery_playbooks``.
        stop: asked twice a second; once it is true, all is ended.
    """
    plain = [node for node in nodes if node.has_plain_name]
    if not plain:
        return {}
    looked: dict[str, Looked] = {}

    def keep(event: dict[str, Any]) -> None:
        looked.update(playbook_result.read_look(event, time.time()))

    looks = {
        node.key: [node.recovery.systemd_scope, node.unit] if node.recovery.systemd_scope else []
        for node in plain
    }
    with private_folder() as private:
        local = here(private) if all(node.on_monitor for node in plain) else {}
        limit, seconds = ",".join(looks), LONGEST_LOOK + len(plain)
        values = {"gpu_mesh_looks": looks, **local}
        path = _find("look_at_gpus", folder)
        start(private, path, limit, inventory, values, keep, seconds, stop, forks=plain_ssh.AT_ONCE)
    return looked


def start(
    folder: Path,
    playbook: Path,
    limit: str,
    inventory: tuple[str, ...],
    values: Mapping[str, Any],
    keep: Callable[[dict[str, Any]], None],
    seconds: float,
    stop: Callable[[], bool],
    forks: int | None = None,
    strategy: str = "",
) -> tuple[Any, str]:
    """Run ansible-playbook in a private folder; return ansible-runner's own result, and the last lines.

    Args:
        folder: as ``private_folder`` makes it.
        playbook: its absolute path.
        limit: the hosts, as a pattern of Ansible's.
        inventory: the sources in Ansible's sense.
        values: the extra vars.
        keep: is given each event.
        seconds: after which it is ended; 0: never.
        stop: asked twice a second; once it is true, the run is ended with all its processes.
        forks: tasks at the same time; None: Ansible's default.
        strategy: the play's, where it names none; "": Ansible's default.
    """
    # In a file, because ansible-runner puts its arguments into the process list.
    (folder / "env/extravars").write_text(json.dumps(_literal(values)), encoding="utf-8")
    (folder / "env/settings").write_text(json.dumps({"pexpect_timeout": 0.5}), encoding="utf-8")
    mark = uuid.uuid4().hex

    def handle(event: dict[str, Any]) -> bool:
        keep(event)
        return False  # not written to disk

    with reaper.tied(mark, folder):
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=str(playbook.parent),
            playbook=str(playbook),
            inventory=[_absolute(source) for source in inventory],
            limit=limit,
            forks=forks,
            envvars=_environment(folder, mark)
            | {bounded_ssh.LIMIT: str(bounded_ssh.most(limit.count(",") + 1))}
            | ({"ANSIBLE_STRATEGY": strategy} if strategy else {}),
            event_handler=handle,
            quiet=True,
            timeout=max(1, round(seconds)) if seconds else None,
            cancel_callback=stop,
        )
        return runner, _tail(folder)  # the folder goes with the tie


def told_of(node: Node) -> dict[str, Any]:
    """Return what a playbook is told of a node."""
    return {k: v for k, v in msgspec.to_builtins(node).items() if k not in _BULKY}


def values_of_all(settings: Settings, limit: float) -> dict[str, Any]:
    """Return the extra vars that every playbook gets, whatever the node.

    Args:
        settings: the monitor's.
        limit: seconds that the playbook may take for a node.
    """
    return {
        "gpu_mesh_scope": settings.scope.value,
        "gpu_mesh_monitor": "localhost",
        "gpu_mesh_hold": math.ceil(limit) + HOLD_MARGIN,
        "gpu_mesh_tasks": str(find(Action.RESTART_OLLAMA).parent / "tasks"),
    }


def _literal(value: object) -> object:
    """Mark each string as no template: the inventory's values are resolved already."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, Mapping):
        return {key: _literal(inner) for key, inner in value.items()}
    return [_literal(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def here(folder: Path) -> dict[str, str]:
    """Return the connection variables for a run on this host, with this Python."""
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(folder / "tmp"),
    }


def _absolute(source: str) -> str:
    """Make a path absolute: the run has another working directory. A host list such as ``a,`` stays."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _environment(folder: Path, mark: str) -> dict[str, str]:
    """Return the environment variables that differ from those of this process.

    ANSIBLE_CONFIG names the file that the inventory was read with, because the run has another working
    directory; else one of ours. The control path is a Unix socket, so its folder's name must be short.
    """
    config = cache.ansible_config(os.environ)
    if not config:
        (folder / "ansible.cfg").write_text(_CONFIG, encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {
        reaper.MARK: mark,
        # What a host prints is counted before Ansible reads it; piped: also where a module is transferred.
        bounded_ssh.PROGRAM: _ssh(config),
        "ANSIBLE_SSH_EXECUTABLE": _counting(path),
        "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
        "ANSIBLE_CONFIG": config or str(folder / "ansible.cfg"),
        "PATH": path,
        "ANSIBLE_HOST_KEY_CHECKING": "True",  # ansible-runner switches it off otherwise
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_NOCOWS": "True",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
    }


def _counting(path: str) -> str:
    """Return the program that runs ssh and counts what it prints: as ansible-playbook, beside this Python.

    Raises:
        FileNotFoundError: there is none; the installation is broken.
    """
    if program := shutil.which(bounded_ssh.COMMAND, path=path):
        return program
    raise FileNotFoundError(
        f"no program {bounded_ssh.COMMAND} beside {sys.executable}; install gpu-mesh again"
    )


def _ssh(config: str) -> str:
    """Return the ssh that the operator has chosen for Ansible, by environment or in ansible.cfg."""
    chosen = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    with contextlib.suppress(OSError, ValueError, configparser.Error):  # Ansible itself reports what is wrong
        chosen.read(config, encoding="utf-8")
    of_file = chosen.get("ssh_connection", "ssh_executable", fallback="ssh")
    return os.environ.get("ANSIBLE_SSH_EXECUTABLE", of_file)


_PARTS = ("env", "tmp", "cp")


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make the folder of a run, for this user alone, and remove it in the end."""
    _sweep(time.time())
    folder = Path(tempfile.mkdtemp(prefix="gm-"))  # mkdtemp guarantees mode 0700
    try:
        for name in _PARTS:
            (folder / name).mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(now: float) -> None:
    """Remove the folders of runs that were killed more than a day ago."""
    for folder in Path(tempfile.gettempdir()).glob("gm-*"):
        with contextlib.suppress(OSError):
            seen = folder.lstat()
            own = seen.st_uid == os.geteuid() and not folder.is_symlink()
            if own and now - seen.st_mtime > _DAY and all((folder / part).is_dir() for part in _PARTS):
                shutil.rmtree(folder, ignore_errors=True)


def _tail(folder: Path) -> str:
    """Return the last lines of ansible-playbook: an error before the first task is shown nowhere else."""
    for path in folder.glob("artifacts/*/stdout"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            text = file.read(4000).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        at = next((i for i, line in enumerate(lines) if "ERROR" in line), max(0, len(lines) - 2))
        return " ".join(lines[at : at + 2])
    return ""
