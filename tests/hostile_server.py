"""A server for many hostile nodes at once: /NUMBER/api/… answers what the case of that number says."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from hostile_answers import CASES, GENERATE, PS, TAGS, VERSION, Answers

_GOOD = {
    TAGS: b'{"models":[{"name":"llama3.2:latest"}]}',
    PS: b'{"models":[{"name":"llama3.2:latest","size":9,"size_vram":9,"expires_at":"2999-01-01T00:00:00Z"}]}',
    VERSION: b'{"version":"0.12.6"}',
    GENERATE: b'{"done":true}',
}


@contextmanager
def serving() -> Iterator[str]:
    """Serve the cases in a process of their own; yield the URL, to which /NUMBER is added."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def _main() -> None:
    nodes = [*(case.answers for case in CASES), {}]  # the last one is well
    server = await asyncio.start_server(lambda *ends: _serve(nodes, *ends), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _serve(
    nodes: Sequence[Answers], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):  # whoever asks hangs up
        while await _answered(nodes, reader, writer):
            pass
        writer.close()
        await writer.wait_closed()


async def _answered(
    nodes: Sequence[Answers], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer one request; return whether the connection stays open for another."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    _, number, path = head.split()[1].decode().split("/", 2)
    hostile = nodes[int(number)].get(f"/{path}")
    if hostile is None:
        body = _GOOD[f"/{path}"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        return True
    said = hostile()
    writer.write(said.first)
    await writer.drain()
    while said.piece:
        writer.write(said.piece)
        await writer.drain()
        await asyncio.sleep(said.pause)
    if said.holds:
        await reader.read()
    return False


if __name__ == "__main__":
    asyncio.run(_main())
