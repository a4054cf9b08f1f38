"""Prints what a server answers to GET /metrics.

Usage: metrics.py SERVER
"""

import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "clients"))

from space import started_server

ANSWER_SECONDS = 30


def main(server):
    # No proxy: all is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with tempfile.TemporaryDirectory(prefix="syft-metrics-") as folder, started_server(server, folder) as (_, log):
        with opener.open(address(log), timeout=ANSWER_SECONDS) as answer:
            print(answer.read().decode(), end="")


def address(log):
    """Written into the log just after the server has said that it listens."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"metrics are read at (\S+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    sys.exit(f"the server does not say where its metrics are; its log:\n{log.read_text(errors='replace')}")


if __name__ == "__main__":
    main(*sys.argv[1:] or sys.exit(__doc__))
