"""The error that a request without an answer raises, for every module of the room."""

from gpu_mesh.domain.observation import Fault


class GetError(Exception):
    """A request gave no answer.

    Attributes:
        fault: why.
        detail: the reason in a few words, without secrets.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault = fault
        self.detail = detail
