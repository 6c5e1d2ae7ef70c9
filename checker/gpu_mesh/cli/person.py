"""Finds out who types a command, for what is shown to others."""

import os
import pwd
from collections.abc import Mapping


def login(environ: Mapping[str, str]) -> str:
    """Return the person's name: who ran sudo, else who logged in, else the owner of this process."""
    if name := environ.get("SUDO_USER", ""):
        return name
    try:
        return os.getlogin()
    except OSError:  # no terminal
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user is only a number
        return f"user {os.getuid()}"
