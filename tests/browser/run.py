"""Opens a page of another origin in a real browser, and has it query a server.

Usage: run.py SERVER BUF SITE

SERVER is the program syft-endpoints, BUF the program buf, SITE a folder with index.html and page.js. The page runs
its checks by itself and reports each; the browser needs no driver for that.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from space import Space, environment, fill, started_server
from upstream import started_upstream
from website import LISTED, STRANGER, Site

BROWSER = "chromium"
DOCUMENTED = ["/api/v1/endpoints/{slug}/query", "/api/v1/policies/{policy_id}"]
# For all checks of a page.
PAGE_SECONDS = 90


def main(server, buf, folder):
    # Stopped from outside, neither the server nor the browser may outlive us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    Site.folder, Site.reports = Path(folder).resolve(), queue.Queue()
    with tempfile.TemporaryDirectory(prefix="syft-browser-") as temporary, started_upstream(Site) as upstream:
        port = upstream.rsplit(":", 1)[1]
        origins = json.dumps([f"http://{LISTED}:{port}"])
        with started_server(server, temporary, SYFT_CORS_ALLOWED_ORIGINS=origins) as (address, log):
            Site.settings = {"server": f"http://{address}", "key": fill(Space(buf, address), upstream)}
            outcomes = [shows_documentation(address, Path(temporary))]
            for name in (LISTED, STRANGER):
                outcomes += visit(f"http://{name}:{port}/", Path(temporary))
            if not all(outcomes):
                print(f"--- the server's log:\n{log.read_text(errors='replace')}", flush=True)
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    sys.exit(0 if all(outcomes) else 1)


def visit(url, temporary):
    """Opens a page, prints what it reports, and returns which of its checks passed."""
    outcomes = []
    deadline = time.monotonic() + PAGE_SECONDS
    with opened_browser(url, temporary) as log:
        with contextlib.suppress(queue.Empty):
            while isinstance(report := Site.reports.get(timeout=max(deadline - time.monotonic(), 0)), tuple):
                name, failure = report
                print(f"FAILED  {name}\n{failure}" if failure else f"ok      {name}", flush=True)
                outcomes.append(failure is None)
            if report == len(outcomes) > 0:
                return outcomes
    print(f"FAILED  {url} did not report all its checks; the browser's log:\n{log.read_text(errors='replace')}")
    return [*outcomes, False]


@contextlib.contextmanager
def opened_browser(url, temporary):
    """A browser with a page open. Gives its log."""
    log = temporary / "browser.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(browser(url, temporary), env=environment(), stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def shows_documentation(address, temporary):
    """Opens the page with the documentation, and returns whether it shows the routes."""
    # The browser's own clock runs fast, and stands still while something is loaded.
    command = browser(f"http://{address}/docs", temporary, "--dump-dom", "--virtual-time-budget=20000")
    page = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PAGE_SECONDS)
    if all(f'data-path="{path}"' in page.stdout for path in DOCUMENTED):
        print("ok      the documentation shows the routes", flush=True)
        return True
    print(f"FAILED  the documentation does not show {DOCUMENTED}:\n{page.stdout}\n{page.stderr}", flush=True)
    return False


def browser(url, temporary, *options):
    """The command that opens a page, with a fresh profile and no way to any address but this machine's."""
    command = [
        shutil.which(BROWSER) or sys.exit(f"{BROWSER} is not installed"),
        "--headless",
        f"--user-data-dir={tempfile.mkdtemp(dir=temporary)}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        # Containers have little of it.
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--enable-logging=stderr",
    ]
    if os.geteuid() == 0:
        # Its sandbox refuses to run as root.
        command.append("--no-sandbox")
    return [*command, *options, url]


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 4 else sys.exit(__doc__)
