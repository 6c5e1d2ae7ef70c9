"""Lets the stand-in at a port of this machine have a fault from now on: set_fault.py PORT NAME."""

import sys
from urllib.request import Request, urlopen

_, port, name = sys.argv
urlopen(Request(f"http://127.0.0.1:{port}/standin/fault", name.encode(), method="PUT"))
