"""What a look can find, what is decided about a node, and what came of it. Values only."""

from enum import StrEnum

from msgspec import Struct, field

from gpu_mesh.domain.causes import CAUSES, Action, Cause
from gpu_mesh.domain.health import Verdict


class Finding(StrEnum):
    """What a recovery's look showed. The playbooks use the same words."""

    NONE = ""  # there was no look, or it did not get that far
    ANSWERS = "answers_on_its_host"
    SILENT = "silent_on_its_host"
    UNIT_DISABLED = "unit_disabled"  # or masked: somebody does not want it to run
    UNIT_MISSING = "unit_missing"
    CANNOT_LOOK = "cannot_look"  # nothing on the host can ask over HTTP
    AT_WORK = "at_work"  # it generates, and a restart would cut that off
    PORT_WAS_LISTENING = "port_was_listening"  # the tunnel's, before it was rebuilt
    PORT_WAS_SILENT = "port_was_silent"
    PORT_IS_OURS = "port_is_ours"  # a rebuild would not help: it was only looked at
    PORT_TAKEN = "port_taken"  # by a stranger, who is left alone
    LEASED = "leased"  # another monitor or a person is repairing it, or has just done so
    CANNOT_LEASE = "cannot_lease"  # the lease's folder on the host is not to be trusted, or full
    HOST_DOWN = "host_down"  # ssh does not connect
    NO_ACCESS = "no_access"  # ssh connects, but the login or the host key fails


class Decision(Struct, frozen=True):
    """What recovery will do about one node, and why."""

    node: str  # key
    action: Action
    reason: str
    cause: Cause | None = None
    playbook: str = ""  # the operator's own, an absolute path
    due: float = 0.0  # Unix seconds of the next attempt, where only a wait stands against it


class Outcome(StrEnum):
    """How a recovery ended."""

    RECOVERED = "recovered"  # a fresh probe was ok
    NOT_RECOVERED = "not_recovered"  # the playbook went through, the node still fails
    FAILED = "failed"  # the playbook failed
    DECLINED = "declined"  # the look on the host said that the action would not help
    LOST = "lost"  # claimed, but the process died before it could say more


class Attempt(Struct, frozen=True):
    """One finished recovery of the current incident."""

    at: float
    action: Action
    outcome: Outcome
    finding: str = ""
    words: str = ""  # what was found and done, for people
    cause: Cause | None = None  # for which it was made
    playbook: str = ""  # the operator's own
    called: bool = False  # a person was called after it

    @property
    def for_impairment(self) -> bool:
        """Whether the node served, but not as it should, when it was made."""
        return self.cause is not None and CAUSES[self.cause].verdict is Verdict.IMPAIRED


class Claim(Struct, frozen=True):
    """A recovery under way: nobody else starts one for the node until it expires."""

    at: float
    until: float
    pid: int
    action: Action
    playbook: str = ""  # the operator's own


class Brake(Struct, frozen=True):
    """So many nodes fail at once that repairing each would hide what they share: nothing is repaired."""

    since: float
    released: bool = False  # a person has said that repairs go on all the same
    notified_at: float = field(default=0.0, name="told_at")  # when people were last told of it; 0.0: not yet


class RecoveryResult(Struct, frozen=True):
    """How one recovery ended."""

    at: float  # Unix seconds
    action: Action  # the last that was tried
    outcome: Outcome
    finding: Finding = Finding.NONE
    cause: Cause | None = None  # as refined by the look
    words: str = ""  # what was done or found, or why it did not work
    asked_for: Cause | None = None  # what a probe alone had called the cause
    playbook: str = ""  # the operator's own, an absolute path

    def attempt(self) -> Attempt:
        """Return what is remembered of it."""
        return Attempt(
            self.at,
            self.action,
            self.outcome,
            self.finding.value,
            self.words,
            self.asked_for,
            self.playbook,
        )
