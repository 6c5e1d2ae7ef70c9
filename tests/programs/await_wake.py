"""Waits, as a sleeping network card does, for a frame that wakes it; prints whom that frame names."""

import re
import socket
import sys

_EVERY_PROTOCOL = 3  # ETH_P_ALL, of linux/if_ether.h
_PATTERN = re.compile(rb"\xff{6}((?!\xff{6}).{6})\1{15}", re.DOTALL)

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) as card:
    card.bind((sys.argv[1], _EVERY_PROTOCOL))
    while True:
        frame = card.recv(65536)
        if found := _PATTERN.search(frame):
            print(found[1].hex(":"), frame[:6].hex(":"), flush=True)
            break
