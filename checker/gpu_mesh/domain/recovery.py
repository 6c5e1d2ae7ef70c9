"""Defines the findings of a look, the decisions of a plan, and the results of recoveries. Values only."""

from enum import StrEnum

from msgspec import Struct, field

from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.gpu import GpuFacts
from gpu_mesh.domain.health import Verdict


class Finding(StrEnum):
    """What the look of a recovery found on the host. The playbooks use the same words."""

    NONE = ""  # there was no look, or it did not finish
    ANSWERS = "answers_on_its_host"
    SILENT = "silent_on_its_host"
    UNIT_DISABLED = "unit_disabled"  # or masked: a person does not want it to run
    UNIT_MISSING = "unit_missing"
    UNIT_GIVEN_UP = "unit_given_up"  # it ended too often for systemd, and the login may not clear that
    CANNOT_LOOK = "cannot_look"  # no program on the host can make an HTTP request
    AT_WORK = "at_work"  # a model generates, and a restart would cut that off
    GPU_AT_FAULT = "gpu_at_fault"  # a restart does not help against what is wrong with the GPU
    GPU_WELL = "gpu_well"  # the reason for the restart, seen by an earlier look, is gone
    GPU_UNCLEAR = "gpu_unclear"  # whether its driver hangs shows at the next look
    REBOOT_REFUSED = "reboot_refused"  # the host itself says that it must not be rebooted now
    REPAIR_REFUSED = "repair_refused"  # the same of a reload or a reset
    PORT_WAS_LISTENING = "port_was_listening"  # the tunnel's local port, before the rebuild
    PORT_WAS_SILENT = "port_was_silent"
    PORT_IS_OURS = "port_is_ours"  # the tunnel itself holds its local port: a rebuild would not help
    PORT_TAKEN = "port_taken"  # another process holds the tunnel's local port, and is left alone
    LEASED = "leased"  # another monitor or a person repairs it, or has just done so
    CANNOT_LEASE = "cannot_lease"  # the folder of leases on the host is unsafe or full
    HOST_DOWN = "host_down"  # ssh does not connect
    NO_SSH = "no_ssh"  # its ssh port refuses: the host is up, but nobody can log in
    NO_ACCESS = "no_access"  # ssh connects, but the login or the host key fails


REFUSED = frozenset({Finding.REBOOT_REFUSED.value, Finding.REPAIR_REFUSED.value})
"""The host itself has refused, and would again. As an attempt has its finding."""


class Decision(Struct, frozen=True):
    """What recovery will do about one node, and why."""

    node: str  # key
    action: Action
    reason: str
    cause: Cause | None = None
    playbook: str = ""  # the operator's own, an absolute path
    due: float = 0.0  # Unix seconds of the next attempt, if it only has to wait
    drains: bool = False  # it waits until the node's requests have ended


class Outcome(StrEnum):
    """The outcome of a recovery."""

    RECOVERED = "recovered"  # a fresh probe of the node was ok
    UNPROVED = "unproved"  # so it was, but no model is loaded: whether they are in VRAM again is not known
    NOT_RECOVERED = "not_recovered"  # the playbook succeeded, but the node still fails
    FAILED = "failed"  # the playbook failed
    DECLINED = "declined"  # the look on the host found that the action would not help
    LOST = "lost"  # claimed, but its process died before it saved a result


HELPED = (Outcome.RECOVERED, Outcome.UNPROVED)


class Attempt(Struct, frozen=True):
    """One finished recovery of the current incident."""

    at: float
    action: Action
    outcome: Outcome
    finding: str = ""
    words: str = ""  # what was found and done, for people
    cause: Cause | None = None  # the probed cause for which it was made
    playbook: str = ""  # the operator's own playbook
    called: bool = False  # whether a person was called after it

    @property
    def helped(self) -> bool:
        """Whether the node was well after it, as far as is known."""
        return self.outcome in HELPED

    @property
    def for_impairment(self) -> bool:
        """Whether it was made for an impaired node, not for a failed one."""
        return self.cause is not None and CAUSES[self.cause].verdict is Verdict.IMPAIRED


class Claim(Struct, frozen=True):
    """A recovery under way: until the claim expires, no other process starts one for the node."""

    at: float
    until: float
    pid: int
    action: Action
    playbook: str = ""  # the operator's own playbook
    in_incident: bool = False  # whether an incident was open when it was made


class Reboot(Struct, frozen=True):
    """A reboot of the node's host, until a look finds the host in another boot."""

    at: float  # Unix seconds
    until: float  # when the host is expected back
    boot: str = ""  # the boot in which the reboot was begun


class Drain(Struct, frozen=True):
    """A time in which a node serves, but takes no new requests: ``best`` and load balancers leave it out."""

    at: float  # Unix seconds
    until: float  # for a repair: when it may begin
    author: str = ""  # who asked for it; "": it drains before a repair
    reason: str = ""


class Brake(Struct, frozen=True):
    """So many nodes fail at once that they must share a cause: nothing is repaired."""

    since: float
    released: bool = False  # a person has said that repairs continue anyway
    notified_at: float = field(default=0.0, name="told_at")  # when it was last alerted; 0.0: not yet


class RecoveryResult(Struct, frozen=True):
    """The result of one recovery."""

    at: float  # Unix seconds
    action: Action  # the last one that was tried
    outcome: Outcome
    finding: Finding = Finding.NONE
    cause: Cause | None = None  # as refined by the look
    words: str = ""  # what was done or found, or why it did not work
    asked_for: Cause | None = None  # the probed cause
    playbook: str = ""  # the operator's own playbook, an absolute path
    gpu: GpuFacts | None = None  # what the look saw of the host's GPUs

    def attempt(self) -> Attempt:
        """Return the result as it is kept in the state."""
        return Attempt(
            self.at,
            self.action,
            self.outcome,
            self.finding.value,
            self.words,
            self.asked_for,
            self.playbook,
        )
