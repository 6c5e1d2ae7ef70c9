"""Runs a command and prints: its exit status, which of PACKAGE,… it loaded, how many programs it started.

watched_command.py PACKAGE,… WORD… where the words are those of gpu-mesh.
"""

import sys

started = []
sys.addaudithook(lambda name, args: started.append(args[0]) if name == "subprocess.Popen" else None)

from gpu_mesh.cli.main import main  # noqa: E402 (what it starts while it is loaded counts, too)

code = main(sys.argv[2:])
loaded = {name.partition(".")[0] for name in sys.modules} & {*sys.argv[1].split(",")}
print(code, sorted(loaded), len(started))
