"""Let keys log in, or no longer, as the user who runs this: its own file, and so root follows no link of its.

Arguments: the user's home; "look" or "write"; then for each key either its whole line, or "-" and the comment
at the end of the line that shall go. Prints what changes, or in the first case would change.
"""

import os
import stat
import sys
from pathlib import Path

LARGEST = 1024 * 1024  # bytes

home, writes, wanted = Path(sys.argv[1]), sys.argv[2] == "write", sys.argv[3:]
path = home / ".ssh/authorized_keys"


def lines() -> list[str]:
    """Return the lines that are there."""
    try:
        # O_NONBLOCK: a named pipe in its place must not hold the play up.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    with open(opened, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - a descriptor
        seen = os.fstat(opened)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > LARGEST:
            sys.exit(f"{path} is no file of keys: look at it, and remove it")
        return file.read().splitlines()


def changed(before: list[str]) -> list[str]:
    """Return the lines as they shall be: one for each key, which its comment tells from others."""
    after = list(before)
    for each in wanted:
        comment = f" {each.removeprefix('-').split()[-1]}"
        same = [line for line in after if line.endswith(comment)]
        if each.startswith("-"):
            after = [line for line in after if line not in same]
        elif same != [each]:
            after = [line for line in after if line not in same] + [each]
    return after


def write(after: list[str]) -> None:
    """Replace the file at once; where it is a link, what it leads to."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    place = Path(os.path.realpath(path))
    new = place.with_name(f"{place.name}.gpu-mesh")
    new.unlink(missing_ok=True)
    opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(opened, "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - as above
        file.write("".join(f"{line}\n" for line in after))
    new.rename(place)


try:
    there = lines()
except PermissionError as error:
    # sshd reads it as this user, too: where he may not, as behind a link to a file of root's, no key counts.
    sys.exit(0 if all(each.startswith("-") for each in wanted) else f"{path}: {error.strerror}")
except OSError as error:
    sys.exit(f"{path}: {error.strerror}")
try:
    then = changed(there)
    if then != there:
        if writes:
            write(then)
        sys.stdout.write(f"{path} changes\n")
except OSError as error:
    sys.exit(f"{path}: {error.strerror}")
