"""Starts a program for each connection, which it has as standard input and output: listen.py PORT PROGRAM….

As a systemd socket with Accept=yes does.
"""

import socket
import subprocess
import sys

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listening:
    running: list[subprocess.Popen[bytes]] = []
    while True:
        connection, _ = listening.accept()
        with connection:
            running.append(subprocess.Popen(sys.argv[2:], stdin=connection, stdout=connection))
        running = [each for each in running if each.poll() is None]
