"""Keeps etcd's members: the first start, who joins, who leaves. Run as root on one, or on one that joins.

One change at a time, and none that would leave less than a quorum. What it prints has changed.

begin TOKEN NAME=PEER,…     start for the first time, with all these members at once
await ENDPOINT              wait until a read by way of this endpoint is answered
join NAME PEER ENDPOINT     become a member, or a full one, if this host is none yet
remove NAME                 take a member out
restart ENDPOINT UNIT       restart if the unit's file or the program is newer than what runs
tell NAME…                  say what is wrong, where these should be the members

The endpoints of all, and the certificate, are in etcdctl's own variables.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

UNIT = "gpu-mesh-etcd.service"
FIRST = Path("/run/gpu-mesh-etcd.first")
ETCDCTL = "sudo sh -c '. /etc/gpu-mesh/etcd/etcdctl.sh; etcdctl"
SHORT_PATIENCE = 15.0  # seconds until somebody must say who is a member
PATIENCE = 90.0  # seconds until etcd must answer, or a new member must have caught up


class Member(NamedTuple):
    """One of etcd's members, as etcd lists it."""

    number: int
    name: str  # "" before its first start, if it was added later
    peer: str
    clients: tuple[str, ...]  # none before its first start
    learns: bool

    @property
    def called(self) -> str:
        """What people know it by."""
        return self.name or self.peer


def fail(why: str) -> NoReturn:
    """End with that reason."""
    sys.exit(why)


def ask(*words: str, endpoints: str = "") -> tuple[Any, str]:
    """Ask etcdctl; return what it answered, None if nothing came, and what it complained of."""
    environment = {**os.environ, **({"ETCDCTL_ENDPOINTS": endpoints} if endpoints else {})}
    limits = ["--command-timeout=5s", "--dial-timeout=2s", "--write-out=json"]
    done = subprocess.run(
        ["etcdctl", *limits, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    complaint = done.stderr.strip().splitlines()[-1:] or [""]
    try:
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except ValueError:
        answer = None
    return answer, complaint[0]


def members() -> list[Member]:
    """Return who is listed; ends when nobody answers for a while, as between two leaders of etcd."""
    until = time.monotonic() + SHORT_PATIENCE
    answer, complaint = ask("member", "list")
    while answer is None and time.monotonic() < until:
        time.sleep(1)
        answer, complaint = ask("member", "list")
    if answer is None:
        fail(f"etcd does not answer at {os.environ['ETCDCTL_ENDPOINTS']}: {complaint}")
    return [
        Member(
            each["ID"],
            each.get("name", ""),
            each["peerURLs"][0],
            tuple(each.get("clientURLs", ())),
            each.get("isLearner", False),
        )
        for each in answer["members"]
    ]


def answers(member: Member) -> bool:
    """Return whether it says how it is."""
    return (
        bool(member.clients) and ask("endpoint", "status", endpoints=",".join(member.clients))[0] is not None
    )


def await_read(endpoint: str) -> None:
    """Wait until a read by way of that endpoint, which needs a quorum, is answered."""
    until = time.monotonic() + PATIENCE
    while True:
        answer, complaint = ask("get", "/gpu-mesh/", "--limit=1", endpoints=endpoint)
        if answer is not None:
            return
        if time.monotonic() > until:
            fail(f"etcd does not answer at {endpoint}: {complaint}; see journalctl -u {UNIT}")
        time.sleep(1)


def start_first(settings: dict[str, str]) -> None:
    """Start with settings that count for the first start alone."""
    FIRST.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    subprocess.run(["systemctl", "restart", UNIT], check=True)


def begin(token: str, initial: str) -> None:
    """Start the first time, together with all the others."""
    start_first(
        {
            "ETCD_INITIAL_CLUSTER": initial,
            "ETCD_INITIAL_CLUSTER_STATE": "new",
            "ETCD_INITIAL_CLUSTER_TOKEN": token,
        }
    )


def join(name: str, peer: str, endpoint: str) -> str:
    """Become a full member; return what was done."""
    known = members()
    own = next((member for member in known if member.peer == peer), None)
    has_data = Path("/var/lib/gpu-mesh-etcd/data/member/wal").exists()
    if own is not None and has_data and not own.learns:
        return ""
    if own is None and has_data:
        fail(
            f"{name} is no member of etcd any more, and has the data of one; "
            "if nobody needs that: rm -r /var/lib/gpu-mesh-etcd/data, and run this again"
        )
    if own is None:
        if silent := [member.called for member in known if not answers(member)]:
            fail(
                f"{name} is not added to etcd while {', '.join(silent)} does not answer; start that again, "
                f"or remove it for good (-e mesh_cluster_remove={silent[0]})"
            )
        answer, complaint = ask("member", "add", name, "--learner", f"--peer-urls={peer}")
        if answer is None:
            fail(f"{name} could not be added to etcd: {complaint}")
        known = members()
        own = next(member for member in known if member.peer == peer)
    elif own.clients and not has_data:
        fail(
            f"{name} was a member of etcd and has lost its data; remove it (-e mesh_cluster_remove={name}), "
            "then run this again, and it joins anew"
        )
    if not has_data:
        initial = ",".join(f"{name if each.peer == peer else each.name}={each.peer}" for each in known)
        start_first({"ETCD_INITIAL_CLUSTER": initial, "ETCD_INITIAL_CLUSTER_STATE": "existing"})
    until = time.monotonic() + PATIENCE
    while own.learns:
        answer, complaint = ask("member", "promote", f"{own.number:x}")
        if answer is not None:
            break
        # Its answer may have been lost.
        own = next(member for member in members() if member.peer == peer)
        if own.learns and time.monotonic() > until:
            fail(
                f"{name} has joined etcd, but does not catch up: {complaint}; see journalctl -u {UNIT} there"
            )
        time.sleep(1)
    await_read(endpoint)
    return f"{name} is a member of etcd"


def remove(name: str) -> str:
    """Take that member out, if etcd goes on without it; return what was done."""
    known = members()
    gone = next((member for member in known if member.name == name), None)
    if gone is None:
        return ""
    rest = [member for member in known if member.number != gone.number and not member.learns]
    rest.sort(key=lambda member: member.called)  # etcd lists them in the order of made-up numbers
    names = ", ".join(member.called for member in rest)
    alive = [member.called for member in rest if answers(member)]
    needed = len(rest) // 2 + 1
    if not rest:
        fail(f"{name} is the last member of etcd; to go back to one monitor, empty mesh_cluster_endpoints")
    if len(alive) < needed:
        fail(
            f"{name} is not removed from etcd: of the rest, {names}, {needed} must answer or etcd stands "
            f"still, and {', '.join(alive) or 'nobody'} does"
        )
    answer, complaint = ask("member", "remove", f"{gone.number:x}")
    if answer is None:
        fail(f"{name} could not be removed from etcd: {complaint}")
    return f"{name} is no member of etcd any more"


def restart(endpoint: str, unit: str) -> str:
    """Restart if what runs is not what is installed, and the others answer; return what was done."""
    command = ["systemctl", "show", UNIT, "--timestamp=unix", "-p", "MainPID", "-p", "ExecMainStartTimestamp"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines())
    pid, since = int(values["MainPID"]), int(values["ExecMainStartTimestamp"].lstrip("@") or 0)
    if pid == 0:
        return ""  # it is starting again by itself
    is_old = Path(f"/proc/{pid}/exe").readlink().name.endswith(" (deleted)")
    if not is_old and Path(unit).stat().st_mtime <= since + 1:
        return ""
    others = [member for member in members() if endpoint not in member.clients]
    if silent := [member.called for member in others if not answers(member)]:
        fail(
            f"etcd is not restarted with its new settings while {', '.join(silent)} does not answer; "
            "run this again"
        )
    subprocess.run(["systemctl", "restart", UNIT], check=True)
    await_read(endpoint)
    return "etcd was restarted"


def tell(expected: list[str]) -> str:
    """Return what a person should know, a line each."""
    lines = []
    answer, complaint = ask("member", "list")
    if answer is None:
        return f"etcd does not answer: {complaint}"
    for member in members():
        if member.name and member.name not in expected:
            lines.append(
                f"{member.name} is still a member of etcd; to take it out: "
                f"-e mesh_cluster_remove={member.name}"
            )
        if not answers(member):
            lines.append(f"etcd does not answer at {member.called}: see journalctl -u {UNIT} there")
    alarms, _ = ask("alarm", "list")
    if alarms and any(alarm.get("alarm") == 1 for alarm in alarms.get("alarms") or ()):
        lines.append(
            "etcd is full (NOSPACE) and takes nothing more. See docs/cluster.md for how to make room, "
            f"then: {ETCDCTL} alarm disarm'"
        )
    return "\n".join(lines)


def main(command: str, *words: str) -> None:
    """Do one of the things that the module lists."""
    said = ""
    if command == "begin":
        begin(*words)
    elif command == "await":
        await_read(*words)
    elif command == "join":
        said = join(*words)
    elif command == "remove":
        said = remove(*words)
    elif command == "restart":
        said = restart(*words)
    elif command == "tell":
        said = tell(list(words))
    if command in {"await", "join"}:
        FIRST.unlink(missing_ok=True)
    if said:
        sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
