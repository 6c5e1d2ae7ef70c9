"""Mount a folder of which nobody ever gets an answer, until this program ends: never_answer.py FOLDER [FUSE].

Whoever opens what is in it waits in the kernel (state D), as in a driver that hangs, and cannot be killed. It
speaks FUSE with the kernel itself, so that a machine needs no more than Python; as root. FUSE is the number
of an open /dev/fuse, for a machine that has none. It prints a line as soon as this is so.
"""

import ctypes
import os
import signal
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<IIQQIIIHH")  # length, operation, unique number, node, user, group, process, …
ANSWER = struct.Struct("<IiQ")  # length, error, unique number
INIT = struct.Struct("<IIIIHHIIHHI28x")  # of protocol 7.31: version, …, at most 12 requests at once, …
LOOKUP, INITIALISE, INTERRUPT = 1, 26, 36
ENOSYS = 38


def mount(folder: str, device: int) -> None:
    """Mount the folder, with the device as the file by which the kernel asks for what is in it."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"never", os.fsencode(folder), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount", folder)


def reader(folder: str, device: int) -> int:
    """Start a process that asks for a file; return its number."""
    number = os.fork()
    if number == 0:
        os.close(device)  # else the mount would outlive its server
        Path(folder, "first").stat()
    return number


def main(folder: str, opened: str = "") -> None:
    """Answer the kernel's greeting, and that no request can be interrupted; nothing else.

    Until the kernel knows the latter, readers wait in state S. It asks when one of them gets a signal.
    """
    device = int(opened) if opened else os.open("/dev/fuse", os.O_RDWR)
    mount(folder, device)
    first = 0
    while True:
        _, operation, unique, *_ = HEADER.unpack(os.read(device, 1 << 17)[: HEADER.size])
        if operation == INITIALISE:
            body = INIT.pack(7, 31, 0, 0, 12, 9, 4096, 1, 1, 0, 0)
            os.write(device, ANSWER.pack(ANSWER.size + len(body), 0, unique) + body)
            first = reader(folder, device)
        elif operation == LOOKUP and first:
            os.kill(first, signal.SIGKILL)
            first = 0
        elif operation == INTERRUPT:
            os.write(device, ANSWER.pack(ANSWER.size, -ENOSYS, unique))
            os.write(1, b"nobody gets an answer\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
