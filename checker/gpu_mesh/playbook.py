"""Runs one recovery playbook for one node and reports what came of it. Only this module uses ansible-runner.

ansible-runner's own word for success is not taken: it says so too when no host matched. The node must be
among those that finished, and not among those that failed or could not be reached.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ansible_runner
import msgspec

from gpu_mesh import lifeline, meshcache
from gpu_mesh.causes import Action
from gpu_mesh.mesh import Node, Settings
from gpu_mesh.plaintext import one_line
from gpu_mesh.plan import Finding
from gpu_mesh.recovery import Report

LONGEST_REASON = 200

HOLD_MARGIN = 30
"""Seconds that a lease outlasts the time limit of the playbook that takes it."""

_DAY = 86400.0

_HOST_DOWN = re.compile(
    r"ssh: connect to host|could not resolve|not known|timed out during banner|no route to host",
    re.IGNORECASE,
)
"""What ssh says when it got no connection at all. Everything else it says comes after one."""

_TELLING = re.compile(
    r"permission denied|verification failed|too many auth|unprotected private|unable to negotiate",
    re.IGNORECASE,
)

_BULKY = ("headers", "expected_models", "alert_tags", "groups")
"""Fields of a node that no playbook needs; headers may hold a token."""


def find(action: Action, folder: str = "") -> Path:
    """Return the action's playbook: the operator's own, else the wheel's, else the checkout's.

    Args:
        action: what is to be done.
        folder: the setting ``mesh_monitor_recovery_playbooks``; "": none.

    Raises:
        FileNotFoundError: there is none, which only a broken installation explains.
    """
    here = Path(__file__).resolve().parent
    folders = [Path(folder)] if folder else []
    folders += [here / "playbooks", here.parents[1] / "playbooks" / "recovery"]
    for candidate in folders:
        path = candidate / f"{action.value}.yml"
        if path.is_file():
            return path.absolute()
    raise FileNotFoundError(f"no playbook {action.value}.yml in {', '.join(map(str, folders))}")


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
) -> Report:
    """Run a playbook for one node.

    Args:
        playbook: its absolute path.
        node: the node; its resolved values reach the playbook as ``gpu_mesh_node``.
        settings: the monitor's.
        inventory: the sources in Ansible's sense.
        on_monitor: act here over a local connection, whatever the inventory says of the node: for its tunnel.
        extra: further extra vars: ``gpu_mesh_urls`` (of all nodes), ``gpu_mesh_owner`` (of the lease),
            ``gpu_mesh_cause``, ``gpu_mesh_attempt``, ``gpu_mesh_cooldown`` (seconds), ``gpu_mesh_look_only``,
            ``gpu_mesh_spares_work``.
        own: it is an operator's own, which need not tell what it did: having gone through is enough.
        timeout: seconds; None: the settings' ``recovery_timeout``.
        stop: asked twice a second; once it is true, the playbook is ended with all its processes.
    """
    limit = settings.recovery_timeout if timeout is None else timeout
    began = time.monotonic()
    local = on_monitor or node.on_monitor
    with _private_folder() as folder:
        values = {
            "gpu_mesh_node": {k: v for k, v in msgspec.to_builtins(node).items() if k not in _BULKY},
            "gpu_mesh_scope": settings.scope.value,
            "gpu_mesh_monitor": "localhost",
            "gpu_mesh_hold": math.ceil(limit) + HOLD_MARGIN,
            "gpu_mesh_tasks": str(find(Action.RESTART_OLLAMA).parent / "tasks"),
            **(_here(folder) if local else {}),
            **(extra or {}),
        }
        # Written to a file, for ansible-runner puts what it is handed into the process list.
        (folder / "env/extravars").write_text(json.dumps(_literal(values)), encoding="utf-8")
        (folder / "env/settings").write_text(json.dumps({"pexpect_timeout": 0.5}), encoding="utf-8")
        mark = uuid.uuid4().hex
        events: list[dict[str, Any]] = []

        def keep(event: dict[str, Any]) -> bool:
            if event.get("event") in _JUDGED or _tells(event):
                events.append(event)
            return False  # not written to disk

        with lifeline.tied(mark, folder):
            runner = ansible_runner.run(
                private_data_dir=str(folder),
                project_dir=str(playbook.parent),
                playbook=str(playbook),
                inventory=[_absolute(source) for source in inventory],
                limit=node.key,
                envvars=_environment(folder, mark),
                event_handler=keep,
                quiet=True,
                timeout=max(1, round(limit)),
                cancel_callback=stop,
            )
            printed = _tail(folder)
        ended = {
            "timeout": f"it took longer than {limit:g} s",
            "canceled": "the recovery was told to stop",
        }.get(runner.status)
        seconds = time.monotonic() - began
        contacted = "the monitor" if on_monitor else node.key
        report = _judge(playbook, node.key, events, runner.rc, printed, contacted)
    if own:
        report = _of_own(report)
    if ended:
        reason, stopped = f"the playbook was ended: {ended}", runner.status == "canceled"
        return msgspec.structs.replace(
            report, success=False, done=False, stopped=stopped, reason=reason, seconds=seconds
        )
    return msgspec.structs.replace(report, seconds=seconds)


def owner(state: Path) -> str:
    """Return whose the leases are that a monitor with this state folder takes: ``monitor-2 1f0c9a3e``.

    The second word tells apart monitors of one name, be it on two machines or on this one.
    """
    try:
        machine = Path("/etc/machine-id").read_bytes().strip()
    except OSError:
        machine = b""
    # Hashed, for systemd asks that a machine's id be not told to others.
    told = hashlib.sha256(machine + b"\0" + os.fsencode(state.resolve())).hexdigest()[:8]
    return f"{plain(os.uname().nodename).replace(' ', '-') or 'monitor'} {told}"


def _of_own(report: Report) -> Report:
    """Judge an operator's own playbook: it may have touched anything, and told nothing."""
    return msgspec.structs.replace(
        report,
        done=report.success and report.finding not in _LEFT_ALONE,
        looked=report.looked or not report.unreachable,
    )


_LEFT_ALONE = (Finding.LEASED, Finding.CANNOT_LEASE)


def _literal(value: object) -> object:
    """Mark each string as one that is no template: what the inventory said is resolved already."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, Mapping):
        return {key: _literal(inner) for key, inner in value.items()}
    return [_literal(inner) for inner in value] if isinstance(value, (list, tuple)) else value


_JUDGED = ("runner_on_failed", "runner_on_unreachable", "playbook_on_stats")


def _tells(event: dict[str, Any]) -> bool:
    """Tell whether a task that went well left word of the look, or changed something."""
    result = (event.get("event_data") or {}).get("res") or {}
    return event.get("event") == "runner_on_ok" and bool(result.get("ansible_stats") or result.get("changed"))


def _judge(
    playbook: Path, key: str, events: list[dict[str, Any]], rc: int | None, printed: str, contacted: str
) -> Report:
    stats: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    reason, finding, unreachable, changed = "", Finding.NONE, False, False
    for event in events:
        data = event.get("event_data") or {}
        result = data.get("res") or {}
        changed = changed or bool(result.get("changed"))
        if event["event"] == "playbook_on_stats":
            stats = data
        elif event["event"] == "runner_on_ok":
            # Also here, for a run that is ended has no statistics.
            artifacts = (result.get("ansible_stats") or {}).get("data") or artifacts
        elif event["event"] == "runner_on_unreachable":
            unreachable, words = True, _words(data)
            contacted = _delegate(data) or contacted
            finding = Finding.HOST_DOWN if _HOST_DOWN.search(words) else Finding.NO_ACCESS
            reason = _ssh_reason(words)
        elif not data.get("ignore_errors"):
            reason = plain(_words(data))
    artifacts = stats.get("artifact_data") or artifacts
    if not unreachable:
        finding = _finding(artifacts.get("gpu_mesh_finding"))
    finished = key in (stats.get("ok") or {})
    failed = key in (stats.get("failures") or {}) or key in (stats.get("dark") or {})
    success = rc == 0 and finished and not failed and not unreachable
    if not success and not reason:
        if "no hosts" in printed or (rc == 0 and not finished):
            reason = f"no host matched: {key} is not in the group mesh_nodes of the inventory"
        else:
            reason = (
                plain(f"{playbook} cannot be run: {printed}")
                if printed
                else f"ansible-playbook ended with {rc}"
            )
    return Report(
        success=success,
        contacted=contacted,
        unreachable=unreachable,
        looked=changed or bool(artifacts),
        reason="" if success else reason,
        finding=finding,
        done=success and artifacts.get("gpu_mesh_done") in (True, "True", "true"),
        said=plain(str(artifacts.get("gpu_mesh_said") or "")),
    )


def plain(text: str) -> str:
    """Return the text as one line of at most 200 characters without anything that acts on a terminal."""
    return one_line(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text), LONGEST_REASON)


def _finding(word: object) -> Finding:
    """Read the playbook's word; an operator's own playbook may use others."""
    try:
        return Finding(str(word or ""))
    except ValueError:
        return Finding.NONE


def _words(data: dict[str, Any]) -> str:
    """Return the most telling of what a failed task said; Ansible itself has censored no_log."""
    result = data.get("res") or {}
    for field in ("msg", "stderr", "stdout", "censored"):
        words = str(result.get(field) or "").strip()
        if words and words != "non-zero return code":
            return words
    return f"the task «{data.get('task')}» failed"


def _ssh_reason(words: str) -> str:
    """Pick the line that matters: ssh prints warnings and banners before it."""
    lines = [line for line in words.splitlines() if line.strip()] or [words]
    telling = [line for line in lines if _HOST_DOWN.search(line) or _TELLING.search(line)]
    line = (telling or lines)[-1]
    return plain(re.sub(r"^.*?via ssh: ", "", line))


def _delegate(data: dict[str, Any]) -> str:
    """Return the host that a task was delegated to: when it is unreachable, Ansible blames the node."""
    delegated = (data.get("res") or {}).get("_ansible_delegated_vars") or {}
    return str(delegated.get("ansible_delegated_host") or delegated.get("ansible_host") or "")


def _here(folder: Path) -> dict[str, str]:
    """Return the connection variables that act on this very host, with this very Python."""
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(folder / "tmp"),
    }


def _absolute(source: str) -> str:
    """Make a path absolute, for the run has another working directory; a host list such as ``a,`` stays."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _environment(folder: Path, mark: str) -> dict[str, str]:
    """Return what differs from our own environment.

    ANSIBLE_CONFIG names the file by which the inventory was read, for the run has another working directory.
    The control path is a Unix socket, so its folder's name must be short.
    """
    config = meshcache.ansible_config(os.environ)
    return {
        lifeline.MARK: mark,
        **({"ANSIBLE_CONFIG": config} if config else {}),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
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


_PARTS = ("env", "tmp", "cp")


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    _sweep(time.time())
    folder = Path(tempfile.mkdtemp(prefix="gm-"))  # 0700 by mkdtemp's promise
    try:
        for name in _PARTS:
            (folder / name).mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(now: float) -> None:
    """Remove what runs left behind that were killed more than a day ago."""
    for folder in Path(tempfile.gettempdir()).glob("gm-*"):
        with contextlib.suppress(OSError):
            seen = folder.lstat()
            own = seen.st_uid == os.geteuid() and not folder.is_symlink()
            if own and now - seen.st_mtime > _DAY and all((folder / part).is_dir() for part in _PARTS):
                shutil.rmtree(folder, ignore_errors=True)


def _tail(folder: Path) -> str:
    """Return ansible-playbook's last words: an error from before any task is told nowhere else."""
    for path in folder.glob("artifacts/*/stdout"):
        text = path.read_text(encoding="utf-8", errors="replace")[-4000:]
        lines = [line for line in text.splitlines() if line.strip()]
        at = next((i for i, line in enumerate(lines) if "ERROR" in line), max(0, len(lines) - 2))
        return " ".join(lines[at : at + 2])
    return ""
