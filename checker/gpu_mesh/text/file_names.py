"""Makes file names of names, so that no name leads elsewhere and no two become one. Pure."""

import re
from hashlib import sha256


def safe_name(name: str, longest: int = 180) -> str:
    """Return a file's name: letters, digits, ``-``, ``_`` and inner dots stay; every other byte is ``=XX``.

    XX is a byte of UTF-8 in hexadecimal.

    Args:
        name: any text.
        longest: characters; a longer name is cut, and ends with ``=`` and the beginning of its SHA-256. A
            file system allows 255 bytes.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]|^[.]", lambda found: escaped(found[0]), name)
    if len(safe) > longest:
        safe = f"{safe[:longest]}={sha256(name.encode(errors='replace')).hexdigest()[:16]}"
    return safe


def escaped(text: str) -> str:
    """Return each byte of the text as ``=XX``."""
    return "".join(f"={byte:02X}" for byte in text.encode(errors="surrogatepass"))
