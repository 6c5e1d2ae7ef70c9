"""Decides from ansible-runner's events whether a playbook succeeded, and what it found. Pure.

ansible-runner's own status is not enough: it reports success even when no host matched. The node must be
among the hosts that finished, and not among those that failed or were unreachable.
"""

import re
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gpu_mesh.domain.gpu import GpuFacts
from gpu_mesh.domain.recovery import Finding
from gpu_mesh.hosts import gpu_look
from gpu_mesh.hosts.bounded_ssh import TOO_MUCH
from gpu_mesh.text.sanitize import plain

_HOST_DOWN = re.compile(
    r"ssh: connect to host|could not resolve|not known|timed out during banner|no route to host",
    re.IGNORECASE,
)
"""What ssh says when it cannot connect at all. Its other messages come after a connection."""

_NO_SSH = re.compile(r"ssh: connect to host .*: connection refused", re.IGNORECASE)
"""What ssh says when the host itself answers that nothing listens at its port: the host is up."""

_TELLING = re.compile(
    r"permission denied|verification failed|too many auth|unprotected private|unable to negotiate",
    re.IGNORECASE,
)

_JUDGED = ("runner_on_failed", "runner_on_unreachable", "playbook_on_stats")

_OVER = "gpu-mesh: the time of this host is over"
"""What filter_plugins/deadline.py of the playbooks says."""

_ENDED = "gpu_mesh_ended"
"""The word with which a playbook says that nothing else will be done on a host."""

_TRUE = (True, "True", "true")

_LEFT_ALONE = (Finding.LEASED, Finding.CANNOT_LEASE)


class PlaybookResult(Struct, frozen=True):
    """What came of one playbook."""

    success: bool
    contacted: str  # the host that was acted on, or that could not be reached
    unreachable: bool = False
    looked: bool = False  # the look was finished, or a task changed something: the host may be changed
    stopped: bool = False  # it was ended because the monitor was told to stop
    reason: str = ""  # why it did not succeed: one line, at most 200 characters, no secret
    finding: Finding = Finding.NONE
    done: bool = False  # something was restarted and seen to answer
    said: str = ""  # what was found and done, in words
    seconds: float = 0.0
    gpu: GpuFacts | None = None  # what the look saw of the host's GPUs


class Looked(Struct, frozen=True):
    """What came of a look at one host's GPUs."""

    facts: GpuFacts | None = None
    reason: str = ""  # why there are none


def read_look(event: dict[str, Any], at: float) -> dict[str, Looked]:
    """Return what an event of ansible-runner's says of a look at a host's GPUs, by the host; {}: nothing."""
    data = event.get("event_data") or {}
    host, result = str(data.get("host") or ""), data.get("res") or {}
    if event.get("event") == "runner_on_unreachable":
        return {host: Looked(reason=_ssh_reason(_words(data)))}
    if event.get("event") not in ("runner_on_ok", "runner_on_failed"):
        return {}
    facts = gpu_look.read(str(result.get("stdout") or ""), at)
    return {host: Looked(facts, "" if facts else plain(_words(data)))}


def took_too_long(limit: float) -> str:
    """Say that a playbook was ended by its time limit, in seconds."""
    return f"the playbook was ended: it took longer than {limit:g} s"


def counts(event: dict[str, Any]) -> bool:
    """Return whether ``read_result`` needs this event of ansible-runner's."""
    return event.get("event") in _JUDGED or _shows_progress(event)


def _shows_progress(event: dict[str, Any]) -> bool:
    """Return whether a task that succeeded reported what the look found, or changed something."""
    result = (event.get("event_data") or {}).get("res") or {}
    shown = result.get("ansible_stats") or result.get("changed") or result.get("timedout")
    return event.get("event") == "runner_on_ok" and bool(shown)


def read_result(
    playbook: Path,
    key: str,
    events: list[dict[str, Any]],
    rc: int | None,
    printed: str,
    contacted: str,
    at: float = 0.0,
) -> PlaybookResult:
    """Return the result of a run.

    Args:
        playbook: the playbook.
        key: the node's.
        events: those of ansible-runner's that count.
        rc: ansible-playbook's exit status.
        printed: the last lines that it printed.
        contacted: the host that it should act on.
        at: Unix seconds at which it ended.
    """
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
            # Also here, because a run that is cut off has no statistics.
            artifacts = artifacts | _reported(result)
        elif event["event"] == "runner_on_unreachable":
            unreachable, words = True, _words(data)
            contacted = _delegate(data) or contacted
            reason = _ssh_reason(words)
            finding = _unreachable(words, reason)
        elif not _is_ignored(event):
            reason = plain(_words(data))
    artifacts = dict(stats.get("artifact_data") or artifacts)
    artifacts.pop(_ENDED, None)  # says nothing of the host
    if not unreachable:
        finding = _finding(artifacts.get("gpu_mesh_finding"))
    finished = key in (stats.get("ok") or {})
    failed = key in (stats.get("failures") or {}) or key in (stats.get("dark") or {})
    success = rc == 0 and finished and not failed and not unreachable
    if "no hosts" in printed or (rc == 0 and not finished):
        otherwise = f"no host matched: {key} is not in the group mesh_nodes of the inventory"
    elif printed:
        otherwise = plain(f"{playbook} cannot be run: {printed}")
    else:
        otherwise = f"ansible-playbook ended with {rc}"
    return PlaybookResult(
        success=success,
        contacted=contacted,
        unreachable=unreachable,
        looked=changed or bool(artifacts),
        reason="" if success else reason or otherwise,
        finding=finding,
        done=success and artifacts.get("gpu_mesh_done") in _TRUE,
        said=plain(str(artifacts.get("gpu_mesh_said") or "")),
        gpu=gpu_look.read(str(artifacts.get("gpu_mesh_gpu") or ""), at),
    )


def ended(event: dict[str, Any]) -> str:
    """Return the host on which nothing else will be done, as this event says; "": it says so of none."""
    data = event.get("event_data") or {}
    said = _reported(data.get("res") or {}).get(_ENDED) if event.get("event") == "runner_on_ok" else ""
    over = event.get("event") == "runner_on_unreachable" or said in _TRUE
    return str(data.get("host") or "") if over else ""


def host_of(event: dict[str, Any]) -> str:
    """Return the host that an event is about; "": it is about none."""
    return str((event.get("event_data") or {}).get("host") or "")


def read_host(
    playbook: Path, key: str, events: list[dict[str, Any]], contacted: str, limit: float, at: float
) -> PlaybookResult:
    """Return the result of one host of a run for several, once an event has said that it ended.

    Args:
        playbook: the playbook.
        key: the node's.
        events: those that count, of this host alone.
        contacted: the host that it should act on.
        limit: the seconds that the host was given.
        at: Unix seconds at which it ended.
    """
    failures = [each for each in events if each["event"] == "runner_on_failed" and not _is_ignored(each)]
    stats = {
        "event": "playbook_on_stats",
        "event_data": {"ok": {key: 1}, "failures": {key: 1} if failures else {}},
    }
    result = read_result(playbook, key, [*events, stats], 2 if failures else 0, "", contacted, at)
    return cut_off(result, limit, stopped=False) if any(map(_is_too_late, events)) else result


def _is_ignored(event: dict[str, Any]) -> bool:
    return bool((event.get("event_data") or {}).get("ignore_errors"))


def _is_too_late(event: dict[str, Any]) -> bool:
    """Return whether a task was cut off by its host's deadline, or would have begun after it."""
    result = (event.get("event_data") or {}).get("res") or {}
    return bool(result.get("timedout")) or _OVER in str(result.get("msg") or "")


def _reported(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a task has reported to the checker, by ``set_stats``."""
    return (result.get("ansible_stats") or {}).get("data") or {}


def _finding(word: object) -> Finding:
    """Return the playbook's word as a Finding; an operator's own playbook may use other words: NONE."""
    try:
        return Finding(str(word or ""))
    except ValueError:
        return Finding.NONE


def _words(data: dict[str, Any]) -> str:
    """Return the most useful message of a failed task; Ansible has already censored no_log."""
    result = data.get("res") or {}
    for field in ("msg", "stderr", "stdout", "censored"):
        words = str(result.get(field) or "").strip()
        if words and words != "non-zero return code":
            return words
    return f"the task «{data.get('task')}» failed"


def _unreachable(words: str, reason: str) -> Finding:
    """Return why ssh could not be used: all that it said, and the line of it that matters."""
    if reason == TOO_MUCH:  # whatever the words before it are
        return Finding.NO_ACCESS
    if _NO_SSH.search(reason):
        return Finding.NO_SSH
    return Finding.HOST_DOWN if _HOST_DOWN.search(words) else Finding.NO_ACCESS


def _ssh_reason(words: str) -> str:
    """Pick the line that matters: ssh prints warnings and banners before it."""
    lines = [line for line in words.splitlines() if line.strip()] or [words]
    if lines[-1] == TOO_MUCH:
        return TOO_MUCH
    telling = [line for line in lines if _HOST_DOWN.search(line) or _TELLING.search(line)]
    line = (telling or lines)[-1]
    return plain(re.sub(r"^.*?via ssh: ", "", line))


def _delegate(data: dict[str, Any]) -> str:
    """Return the host that a task was delegated to: if it is unreachable, Ansible names the node instead."""
    delegated = (data.get("res") or {}).get("_ansible_delegated_vars") or {}
    return str(delegated.get("ansible_delegated_host") or delegated.get("ansible_host") or "")


def of_own_playbook(report: PlaybookResult) -> PlaybookResult:
    """Return the result of an operator's own playbook: it may have changed the host without a report."""
    return replace(
        report,
        done=report.success and report.finding not in _LEFT_ALONE,
        looked=report.looked or not report.unreachable,
    )


def cut_off(result: PlaybookResult, limit: float, *, stopped: bool) -> PlaybookResult:
    """Return the result of a run that was ended early.

    Args:
        result: what its events say.
        limit: the seconds that it was given.
        stopped: whether the recovery was told to stop, before that limit.
    """
    reason = "the playbook was ended: the recovery was told to stop" if stopped else took_too_long(limit)
    return replace(result, success=False, done=False, stopped=stopped, reason=reason)
