"""The web site whose page the browser opens, and what the page reports to it.

It is the scripted model server too, see ../clients/upstream.py, so that the page may talk with that one. The page
has one of two origins, by the name in its address: `localhost` is the one that the server lists.
  GET /settings.json  where the server is, and a key
  POST /report        how one check ended
  POST /done          how many checks there were
"""

import json
import queue
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from upstream import Handler

LISTED, STRANGER = "localhost", "127.0.0.1"
TYPES = {".html": "text/html", ".js": "text/javascript"}
# Where README's programs look for the server.
README_SERVER = "http://127.0.0.1:8080"


class Site(Handler):
    # Chromium may read on after abort() for 5 s, or 16 KiB, in the hope to keep the connection.
    hang_up_seconds = 15
    # Set by run.py, before the browser is started.
    folder: Path
    settings: dict
    # What the page reported: (name, failure or None) of each check, and the number of checks at last.
    reports: queue.Queue

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/hung-up":
            return super().do_GET()
        if path == "/settings.json":
            allowed = self.headers["host"].split(":")[0] == LISTED
            return self.send_body("application/json", json.dumps(self.settings | {"allowed": allowed}).encode())
        file = self.folder / (path.removeprefix("/") or "index.html")
        if file.parent != self.folder or not file.is_file():
            return self.answer(HTTPStatus.NOT_FOUND)
        content = file.read_text().replace(README_SERVER, self.settings["server"])
        return self.send_body(TYPES[file.suffix], content.encode())

    def do_POST(self):
        if self.path not in ("/report", "/done"):
            return super().do_POST()
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.reports.put((said["name"], said["failure"]) if self.path == "/report" else said)
        return self.answer(HTTPStatus.NO_CONTENT)

    def send_body(self, kind, body):
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
