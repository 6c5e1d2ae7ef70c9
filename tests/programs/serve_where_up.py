"""Stands in for Ollama at every loopback address, and answers where it is up: serve_where_up.py FOLDER PORT.

An address is up while the folder has a file of its name. Elsewhere a connection is closed without an answer.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ANSWERS = {"/api/version": b'{"version":"0.12.6"}', "/api/ps": b'{"models":[]}'}
TAGS = b'{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","size":1}]}'


class _Ollama(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if not Path(sys.argv[1], self.connection.getsockname()[0]).exists():
            self.close_connection = True
            return
        body = ANSWERS.get(self.path, TAGS)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


ThreadingHTTPServer.request_queue_size = 100
ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), _Ollama).serve_forever()
