"""Reads and writes host names, addresses and ports in texts, for the readers of inventory variables. Pure."""

import ipaddress
import re

_NAME_OF_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")  # "-a" would be an option of ssh
_ENDS_IN_A_NUMBER = re.compile(r"([^.]*\.)*([0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)
"""No name ends in a number: an IPv4 address is meant, which has four (RFC 1123, 2.1)."""
_WITH_PORT = re.compile(r"([^:\[\]]+|\[[^\[\]]+\]):([0-9]{1,5})")


def is_host(text: str) -> bool:
    """Return whether the text can be a host's name or address (an IPv6 address without brackets)."""
    if ":" not in text and not _ENDS_IN_A_NUMBER.fullmatch(text):
        return _NAME_OF_HOST.fullmatch(text) is not None
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # an IPv6 zone, which a URL cannot hold


def host_with_port(text: str) -> tuple[str, str] | None:
    """Split ``host:port`` into host and port; None: the text is something else."""
    found = _WITH_PORT.fullmatch(text)
    return (without_brackets(found[1]), found[2]) if found and is_host(without_brackets(found[1])) else None


def without_brackets(text: str) -> str:
    """Return a host without the brackets that an IPv6 address has in URLs."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def authority(host: str, port: int) -> str:
    """Join a host and a port as in a URL: an IPv6 address is put in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
