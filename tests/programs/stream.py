"""Asks for a text in pieces, and says how many came, and whether the last: stream.py URL MODEL PIECES."""

import json
import sys
import urllib.request

url, model, pieces = sys.argv[1:]
body = {"model": model, "prompt": "go", "stream": True, "options": {"num_predict": int(pieces)}}
with urllib.request.urlopen(f"{url}/api/generate", json.dumps(body).encode()) as answer:
    lines = [json.loads(line) for line in answer]
print(len(lines) - 1, "done" if lines[-1]["done"] else "cut off")
