"""Filters for the playbooks: how much of its time a host still has, where one run repairs several nodes.

Each host of such a run has a deadline of its own. It is a time of CLOCK_MONOTONIC, which nobody sets.
"""

import math
import time

from ansible.errors import AnsibleFilterError

OVER = "gpu-mesh: the time of this host is over"
"""What is said of each task that would begin too late; hosts/playbook_result.py knows these words."""


def left(deadline):
    """Return the whole seconds until the deadline, for a task's ``timeout``; 0: there is none."""
    if not deadline:
        return 0
    seconds = float(deadline) - time.monotonic()
    if seconds <= 0:
        raise AnsibleFilterError(OVER)
    return math.ceil(seconds)


def in_time(deadline):
    """Return whether the deadline is still to come; so it is where there is none."""
    return not deadline or time.monotonic() < float(deadline)


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"gpu_mesh_time_left": left, "gpu_mesh_in_time": in_time}
