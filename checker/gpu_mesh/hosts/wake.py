"""Sends the packet that wakes a machine, on every network of this one; for ``gpu-mesh wake``."""

import fcntl
import ipaddress
import socket
import struct

PORT = 9
"""The UDP port: discard. A network card looks at the content alone."""

_EVERYBODY = "255.255.255.255"
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B  # of linux/sockios.h
_REQUEST = "256s"  # a struct ifreq, with room to spare: the name, then a struct sockaddr_in


def packet(mac: str) -> bytes:
    """Return the packet for a network card: six bytes 0xff, and sixteen times its address.

    Args:
        mac: ``aa:bb:cc:dd:ee:ff``.
    """
    return b"\xff" * 6 + 16 * bytes.fromhex(mac.replace(":", ""))


def send(mac: str) -> tuple[str, ...]:
    """Send the packet to every broadcast address of this machine; return those.

    A machine that sleeps has no address, so nothing can be sent to it alone.

    Raises:
        OSError: it could not be sent anywhere.
    """
    sent, failures = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for address in _broadcasts(sender):
            try:
                sender.sendto(packet(mac), (address, PORT))
            except OSError as error:  # that network is down
                failures.append(error)
            else:
                sent.append(address)
    if failures and not sent:
        raise failures[0]
    return tuple(sent)


def _broadcasts(any_socket: socket.socket) -> tuple[str, ...]:
    """Return the broadcast address of each network that this machine is in; the general one without any."""
    found = []
    for _, name in socket.if_nameindex():
        try:
            network = _network(any_socket, name)
        except OSError:  # the interface has no IPv4 address
            continue
        if network.num_addresses > _PAIR and not network.is_loopback:
            found.append(str(network.broadcast_address))
    return tuple(dict.fromkeys(found)) or (_EVERYBODY,)


_PAIR = 2
"""A network of so few addresses is a line between two, such as a VPN's, and has no broadcast."""


def _network(any_socket: socket.socket, name: str) -> ipaddress.IPv4Network:
    address, mask = (
        socket.inet_ntoa(fcntl.ioctl(any_socket, what, struct.pack(_REQUEST, name.encode()))[20:24])
        for what in (_SIOCGIFADDR, _SIOCGIFNETMASK)
    )
    return ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
