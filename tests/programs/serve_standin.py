"""The stand-in with a certificate of /etc/standin, or with none: serve_standin.py CERTIFICATE WORD…."""

import functools
import ssl
import sys

from gpu_mesh.standin import __main__ as command

if sys.argv[1]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"/etc/standin/{sys.argv[1]}.pem")
    command.Standin = functools.partial(command.Standin, tls=context)
command.main(sys.argv[2:])
