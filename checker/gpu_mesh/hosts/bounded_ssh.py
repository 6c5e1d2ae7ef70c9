"""Runs ssh in Ansible's place, and ends it when the host prints more than a command of ours can have to say.

Ansible keeps all that a host prints, several times over: in the process that runs ssh, in the one that shows
it, in a file, and in the recovery. A host can print gigabytes within the time of one look. So what it prints
is counted before Ansible reads it. Ansible starts this as the program ``gpu-mesh-ssh`` (playbook.py): the
installer of the package makes it, executable and with the Python that runs the package.
"""

import os
import selectors
import signal
import stat
import subprocess
import sys

COMMAND = "gpu-mesh-ssh"
"""The program's name."""

MOST = 2 * 2**20
"""Bytes, errors included. A look prints some hundreds; facts take some 100,000."""

MOST_ERRORS = 2**16
"""Bytes of standard error that are passed on. ansible-runner drops longer words of a task than 700,000."""

LEAST, TOGETHER = 2**18, 2**24
"""Bytes that a command may print in any case, and that those of a run for many hosts may print together."""

TOO_MUCH = "gpu-mesh ended ssh: the host printed more than a command of a repair may"
"""What is said then: the last line, in the place of ssh's own last words."""

PROGRAM, LIMIT = "GPU_MESH_SSH", "GPU_MESH_SSH_MOST"
"""Environment variables: the ssh to run, and the bytes that it may print (``most``)."""

_FAILED = 255  # ssh's own exit status for a connection that failed
_LINGER = 0.2  # seconds: a master connection in the background may keep an output open for ever
_PIECE = 65536
_PATIENCE = 5.0  # seconds that it has to end when nobody reads it any more
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def most(hosts: int) -> int:
    """Return how many bytes a command may print in a run for so many hosts: Ansible keeps what all say."""
    return max(LEAST, min(MOST, TOGETHER // max(hosts, 1)))


def main() -> int:
    """Run ssh with this program's arguments; return the exit status."""
    return run([os.environ.get(PROGRAM, "ssh"), *sys.argv[1:]])


def run(command: list[str]) -> int:
    """Run the command with its output counted; return its exit status, or 255 if it printed too much.

    The command ends with this process: when it is told to end, and when nobody reads any more.
    """
    child: subprocess.Popen[bytes] | None = None
    told_to_end = False

    def end(*_: object) -> None:
        nonlocal told_to_end
        told_to_end = True
        if child:
            child.terminate()

    for number in _ENDS:
        signal.signal(number, end)
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        return _FAILED
    if told_to_end:  # while it was started
        child.terminate()
    try:
        within = _pass_on(child)
    except BrokenPipeError:
        child.terminate()
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # no ssh, but a program around it
            child.kill()
    else:
        if not within:
            child.kill()
            os.write(2, f"\n{TOO_MUCH}\n".encode())
            return _FAILED
    status = child.wait()
    return status if status >= 0 else 128 - status


def _pass_on(child: subprocess.Popen[bytes]) -> bool:
    """Pass on what the child prints until its end; return whether it stayed within the limit.

    Raises:
        BrokenPipeError: nobody reads it any more.
    """
    assert child.stdout is not None
    assert child.stderr is not None
    left, errors_left = int(os.environ.get(LIMIT, MOST)), MOST_ERRORS
    with selectors.DefaultSelector() as outputs:
        outputs.register(child.stdout, selectors.EVENT_READ, 1)
        outputs.register(child.stderr, selectors.EVENT_READ, 2)
        if is_piped := stat.S_ISFIFO(os.fstat(1).st_mode):  # its end for writing is ready once nobody reads
            outputs.register(1, selectors.EVENT_READ)
        while len(outputs.get_map()) > is_piped:
            ready = outputs.select(_LINGER)
            if not ready and child.poll() is not None:
                return True
            for output, _ in ready:
                if output.fd == 1:
                    raise BrokenPipeError
                piece = os.read(output.fd, _PIECE)
                if not piece:
                    outputs.unregister(output.fileobj)
                left -= len(piece)
                if left < 0:
                    return False
                if output.data == 2:
                    piece, errors_left = piece[:errors_left], max(0, errors_left - len(piece))
                _write(output.data, piece)
    return True


def _write(to: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(to, piece) :]
