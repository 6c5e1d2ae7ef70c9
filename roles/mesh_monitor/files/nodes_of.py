"""Print the nodes that a rendered inventory describes, each with its variables, as JSON.

Argument: the file. site.yml compares them with those of now: a node that has left is named.
"""

import json
import sys
from pathlib import Path

import yaml

rendered = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
nodes = rendered["mesh_nodes"]["hosts"] or {}
sys.stdout.write(json.dumps({key: variables or {} for key, variables in nodes.items()}))
