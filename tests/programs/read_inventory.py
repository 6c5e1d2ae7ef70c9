"""Reads an inventory as the checks do: read_inventory.py SOURCE."""

import sys

from gpu_mesh.inventory import reader

reader.read((sys.argv[1],), None)
