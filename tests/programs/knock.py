"""Ask a server for a page: URL, the CA's certificate, and a certificate with its key if one is shown."""

import http.client
import ssl
import sys
from urllib.parse import urlsplit

url, ca, *own = sys.argv[1:]
parts = urlsplit(url)
context = ssl.create_default_context(cafile=ca)
context.verify_flags |= ssl.VERIFY_X509_STRICT
if own:
    context.load_cert_chain(*own)
port = (
    http.client.HTTPSConnection(parts.netloc, context=context, timeout=10)
    if parts.scheme == "https"
    else http.client.HTTPConnection(parts.netloc, timeout=10)
)
try:
    port.request("GET", parts.path)
    answer = port.getresponse()
    sys.stdout.write(f"{answer.status} {answer.read()!r}\n")
except (OSError, http.client.HTTPException) as error:
    sys.stdout.write(f"no answer: {error}\n")
