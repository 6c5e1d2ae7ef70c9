"""Reads from what a recovery said whether the owner's command is at fault, and says what to correct. Pure.

For aftermath.py and plan.py. What the command printed comes from its host: of that nothing is repeated here,
for a next step is there to be copied.
"""

import re

from gpu_mesh.domain.mesh import Node

_SAID = re.compile(
    r"(mesh_(?:node|tunnel)_recovery_command) was run: the command "
    r"(ended with status \d{1,3}\b|ended well, but nothing answers|neither ended nor helped in time)"
)
"""What restart_command.yml, tunnel_command.yml and the shell functions that they call say of a failure."""


def correction(node: Node, words: str, otherwise: str) -> str:
    """Return what a person can do after a recovery that ended with these words.

    Args:
        node: the node.
        words: what is remembered of the recovery.
        otherwise: what a person can do in any case; it stands alone where no command is at fault.
    """
    said = _SAID.match(words)
    if said is None:
        return otherwise
    command, answer = said.groups()
    also = "" if command in otherwise else f"; or {otherwise}"
    return f"correct {command} of {node.key}, which {answer}{also}"
