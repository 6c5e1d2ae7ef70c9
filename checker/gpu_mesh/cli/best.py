"""``gpu-mesh best``: print the URL of the node to use."""

import argparse
import sys

from msgspec import Struct

from gpu_mesh.cli.common import UsageError, add_json, shell, width
from gpu_mesh.cli.reports import print_json, read
from gpu_mesh.domain.health import Status
from gpu_mesh.domain.mesh import Mesh
from gpu_mesh.domain.state import State
from gpu_mesh.routing import best
from gpu_mesh.routing.best import Choice, Prefer, Wish
from gpu_mesh.system.log import Log
from gpu_mesh.system.paths import Paths
from gpu_mesh.text.commands import typed
from gpu_mesh.text.sanitize import one_line
from gpu_mesh.text.suggest import did_you_mean
from gpu_mesh.text.table import aligned_within

EXAMPLES = "gpu-mesh best --model llama3.2\n  gpu-mesh best --model llama3.2 --explain"

_GIB = 2**30


class Ranking(Struct, frozen=True):
    """What ``best --json`` prints with ``--count`` or ``--explain``."""

    schema: int
    model: str
    nodes: tuple[Choice, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only this command takes."""
    parser.add_argument("--model", default="", help="only nodes that have this model")
    parser.add_argument(
        "--prefer",
        choices=[each.value for each in Prefer],
        help="what decides among healthy nodes (default: loaded for a model, else score)",
    )
    parser.add_argument(
        "--healthy-only", action="store_true", help="no node that serves although something is wrong with it"
    )
    parser.add_argument("--count", type=int, default=1, metavar="N", help="the best N, one a line")
    parser.add_argument(
        "--explain", action="store_true", help="every node in order, with why, or why it does not fit"
    )
    add_json(parser)


def run(arguments: argparse.Namespace, paths: Paths, _log: Log) -> int:
    """Print the URL of the node to use; 1 when there is none."""
    if arguments.count < 1:
        raise UsageError("--count: write a whole number, 1 or more")
    mesh, state, report = read(arguments, paths)
    prefer = Prefer(arguments.prefer) if arguments.prefer else None
    wish = Wish(arguments.model, prefer, arguments.healthy_only)
    ranked = best.ranked(mesh, state, wish, report.at)
    fitting = () if report.mesh.stale else tuple(each for each in ranked if not each.why_not)
    if arguments.explain:
        _explain(arguments, ranked)
    if not fitting:
        why = "nobody has checked the mesh lately" if report.mesh.stale else _nobody(wish, mesh, state)
        sys.stderr.write(typed(f"gpu-mesh: {why}; see: gpu-mesh status\n", shell(arguments, paths)))
        return 1
    if arguments.explain:
        return 0
    chosen = fitting[: arguments.count]
    if arguments.json and arguments.count > 1:
        print_json(Ranking(1, wish.model, chosen))
    elif arguments.json:
        print_json(next(item for item in report.nodes if item.node == chosen[0].node))
    else:
        if chosen[0].status is not Status.HEALTHY:  # beside the URL, which programs read
            first = next(item for item in report.nodes if item.node == chosen[0].node)
            is_now = f"{first.node} is {first.status}: {first.detail}"
            sys.stderr.write(f"gpu-mesh: no node that fits is healthy; {is_now}\n")
        sys.stdout.write("".join(f"{each.url}\n" for each in chosen))
    return 0


def _nobody(wish: Wish, mesh: Mesh, state: State) -> str:
    """Return that no node fits; where a model's name is nearly right, which one was probably meant."""
    fits = "is healthy" if wish.healthy_only else "serves"
    if not wish.model:
        return f"no node {fits}"
    known = best.models(state, mesh)
    nothing = f"no node {fits} and has the model {wish.model}"
    if wish.model in known:
        return nothing
    if near := best.nearest(wish.model, known):
        return f"{nothing}; there is {', '.join(near)}"
    hint = did_you_mean(wish.model, known)
    return f"{nothing}; {hint}" if hint else nothing


def _explain(arguments: argparse.Namespace, ranked: tuple[Choice, ...]) -> None:
    if arguments.json:
        print_json(Ranking(1, arguments.model, ranked))
        return
    rows = [("", "node", "status", "loaded", "free VRAM", "score", "usual", "")]
    for number, each in enumerate(ranked, start=1):
        rows.append(
            (
                "–" if each.why_not else str(number),
                one_line(each.node, 40),
                str(each.status),
                "–" if each.loaded is None else f"{each.loaded:.0%} in VRAM",
                "–" if each.free_vram is None else f"{each.free_vram / _GIB:.1f} GiB",
                "–" if each.score is None else f"{each.score:.0f}",
                "–" if each.usual_ms is None else f"{each.usual_ms:.0f} ms",
                one_line(each.why_not, 200) or each.url,
            )
        )
    sys.stdout.write("".join(f"{line}\n" for line in aligned_within(rows, width(), optional=(6, 5, 4))))
