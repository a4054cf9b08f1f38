"""Starts a server with a space to query and runs a client program against it.

Usage: space.py SERVER BUF COMMAND...

SERVER is the program syft-endpoints, BUF the program buf. COMMAND finds in its environment:
  ADDRESS         host:port of the server
  KEY             an API key that may query
  UPSTREAM        URL of the scripted model server, see upstream.py
  SERVICE_CONFIG  a file: the gRPC service config that the project gives to its clients
The exit status is the command's.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from upstream import started_upstream

START_SECONDS = 60
SETUP_SECONDS = 30
CLIENT_SECONDS = 120
SERVICE_CONFIG = Path(__file__).parents[2] / "deploy" / "retry-service-config.json"
ADMIN_KEY = "the-admin-key-of-the-client-tests"
# The one that is there from the beginning.
TENANT = "root"

DOCUMENTS = {
    "copyright": "The copyright term is seventy years after the death of the author.",
    "dogs": "Dogs bark at night.",
    "patents": "A patent term is twenty years from filing.",
}
# What README asks the demo about.
DOCS = {
    "policies": "Policies are ordered by their phase, then by their name.",
    "datasets": "A dataset of type local is searched by BM25.",
}


def main(server, buf, *command):
    # Stopped from outside, the server must not outlive us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with (
        tempfile.TemporaryDirectory(prefix="syft-clients-") as folder,
        started_upstream() as upstream,
        started_server(server, folder) as (address, log),
    ):
        key = fill(Space(buf, address), upstream)
        found = {"ADDRESS": address, "KEY": key, "UPSTREAM": upstream, "SERVICE_CONFIG": str(SERVICE_CONFIG)}
        status = run(command, found)
        if status != 0:
            print(f"--- the server's log:\n{log.read_text(errors='replace')}", flush=True)
    sys.exit(status)


# Nothing listens there.
NO_HUB = "http://127.0.0.1:9"


def environment(**more):
    """Ours, without the developer's own settings, and without proxies: all is on this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SYFT_") and not name.lower().endswith("_proxy")
    }
    return kept | more


@contextlib.contextmanager
def started_server(binary, folder, **more):
    """A server process with a data folder of its own, and more settings. Gives its address and its log."""
    log = Path(folder, "log")
    command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
    # Nobody's hub: what is made up must not reach a real one.
    own = {"SYFT_ADMIN_API_KEY": ADMIN_KEY, "SYFT_METRICS_LISTEN": "127.0.0.1:0", "SYFT_HUB_DEFAULT_URL": NO_HUB}
    settings = environment(**(own | more))
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=output, text=True)
    # A server that hangs is killed, which ends its output.
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        # Printed once the server listens.
        lines = (line for line in process.stdout if line.startswith("listening on "))
        address = next(lines, "").removeprefix("listening on ").strip().removeprefix("http://")
        timer.cancel()
        if not address:
            sys.exit(f"the server did not start (status {process.wait()}); its log:\n{log.read_text()}")
        yield address, log
    finally:
        timer.cancel()
        process.kill()
        process.wait()


class Space:
    """What the owner does, through the public API: requests and responses as JSON."""

    def __init__(self, buf, address):
        self.buf = buf
        self.address = address

    def call(self, method, *messages):
        """Calls a method with one or several messages and returns its last response."""
        url = f"http://{self.address}/syft.space.v1.{method}"
        command = [self.buf, "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--data", "@-"]
        command += ["--header", f"authorization: Bearer {ADMIN_KEY}", "--header", f"x-tenant-name: {TENANT}", url]
        answer = subprocess.run(
            command,
            env=environment(),
            input="\n".join(map(json.dumps, messages)),
            stdout=subprocess.PIPE,
            text=True,
            timeout=SETUP_SECONDS,
        )
        if answer.returncode != 0:
            sys.exit(f"{method} failed")
        decoder, text, last = json.JSONDecoder(), answer.stdout.strip(), {}
        while text:
            last, end = decoder.raw_decode(text)
            text = text[end:].lstrip()
        return last

    def create_dataset(self, name, kind, documents):
        created = self.call("DatasetService/CreateDataset", {"dataset": {"name": name, "dtype": "local"}})
        messages = [{"id": id, "content": text, "metadata": {"kind": kind}} for id, text in documents.items()]
        self.call("DatasetService/IngestDocuments", {"dataset": name, "documents": messages})
        return created["dataset"]["id"]

    def create_model(self, name, dtype, **configuration):
        model = {"name": name, "dtype": dtype, "configuration": configuration}
        return self.call("ModelService/CreateModel", {"model": model})["model"]["id"]

    def create_endpoint(self, slug, **fields):
        new = {"slug": slug, "name": slug, "published": True, **fields}
        self.call("EndpointService/CreateEndpoint", {"endpoint": new})

    def create_policy(self, slug, kind, **configuration):
        new = {"name": kind, "policyType": kind, "endpointSlug": slug, "configuration": configuration}
        return self.call("PolicyService/CreatePolicy", {"policy": new})["policy"]["id"]

    def create_key(self, name, email):
        """Returns the key and what was stored of it."""
        new = {"name": name, "email": email, "scopes": ["SCOPE_QUERY"]}
        return self.call("AccessService/CreateApiKey", {"apiKey": new})


def fill(space, upstream):
    """Creates what the clients ask, and returns a key for them."""
    fill_searched(space)
    space.create_policy("legal-qa", "access", allowed_users=["client@example.org"])
    space.create_policy("legal-qa", "rate_limit", limit="1000/m")
    # The scripts of upstream.py, each behind an endpoint of its name.
    for script in ("paced", "endless", "flaky", "cut"):
        model = space.create_model(script, "openai", base_url=f"{upstream}/v1", model=script, api_key="test")
        space.create_endpoint(script, modelId=model)

    return space.create_key("client", "client@example.org")["secret"]


def fill_searched(space):
    """Creates endpoints that anyone may ask, and that need nothing but the server: `legal-qa` and the demo's."""
    sentences = space.create_model("sentences", "extractive")
    law = space.create_dataset("law", "law", DOCUMENTS)
    docs = space.create_dataset("syft-docs", "docs", DOCS)
    wait_until_indexed(space, "law", "patent")
    wait_until_indexed(space, "syft-docs", "policies")
    space.create_endpoint("legal-qa", datasetId=law, modelId=sentences)
    space.create_endpoint("syft-docs", datasetId=docs, modelId=sentences)


def wait_until_indexed(space, dataset, text):
    """Searches see documents a moment after they were stored."""
    # Each try is a new process, so this is no busy loop.
    for _ in range(100):
        found = space.call("DatasetService/SearchDataset", {"name": dataset, "text": text})
        if found.get("references", {}).get("documents"):
            return
    sys.exit("the documents were not indexed after 100 searches")


def run(command, found):
    """Runs the client program and returns its exit status."""
    process = subprocess.Popen(command, env=environment(**found))
    try:
        return process.wait(timeout=CLIENT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{command[0]} did not end within {CLIENT_SECONDS} s", flush=True)
        return 1
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
