"""``gpu-mesh completion``: print the completions for a shell, or the man page."""

import argparse
import sys

from gpu_mesh.cli import completion_scripts, grammar
from gpu_mesh.cli.common import mesh_of
from gpu_mesh.cli.man_page import man_page
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.sanitize import one_line

EXAMPLES = (
    "gpu-mesh completion bash >~/.local/share/bash-completion/completions/gpu-mesh\n"
    "  gpu-mesh completion man | man -l -"
)
_MADE = {
    "bash": completion_scripts.bash,
    "zsh": completion_scripts.zsh,
    "fish": completion_scripts.fish,
    "man": man_page,
}
_NODES = "nodes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument(
        "what", choices=(*_MADE, _NODES), help="a shell; man: the man page; nodes: what may stand for NODE"
    )


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print what a shell, or man, reads."""
    if arguments.what == _NODES:
        keys = (node.key for node in mesh_of(arguments, paths).nodes)
        sys.stdout.write("".join(f"{one_line(key, 1000)}\n" for key in keys))
    else:
        sys.stdout.write(_MADE[arguments.what](grammar.read()))
    return 0
