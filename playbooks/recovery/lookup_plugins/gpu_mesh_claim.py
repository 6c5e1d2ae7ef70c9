"""Waits until the checker has claimed this host's node, where one run repairs several nodes.

The checker (gpu_mesh/hosts/joint_run.py) says so on a socket in the run's private folder, with the node's own
values. By hand there is none.
"""

import json
import os
import socket

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """What Ansible asks for."""

    def run(self, terms, variables=None, **_):
        """Return the values of the node, as a list of one; []: it is not repaired now.

        Args:
            terms: the folder of the socket; "": nobody is asked.
            variables: the host's.
        """
        (folder,) = terms
        if not folder:
            return []
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as asked:
                # So the path is short however long the folder's name is: a socket's may have 107 bytes.
                asked.connect(f"/proc/self/fd/{opened}/claims")
                asked.sendall(f"{variables['inventory_hostname']}\n".encode())
                with asked.makefile("rb") as answer:
                    said = answer.read()
        finally:
            os.close(opened)
        return json.loads(said) if said else []
