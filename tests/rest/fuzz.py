"""Has schemathesis make requests from the OpenAPI document of a running space, and judge the answers by it.

Usage: fuzz.py SERVER BUF [OPTION...]

SERVER is the program syft-endpoints, BUF the program buf. The options are for `schemathesis run`, as `--seed 7` or
`--max-examples 1000`; without them all runs make the same requests.

Version 4.32.5 knows no gRPC: the documentation of a later one does, but PyPI has none.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from string import Template

from space import ADMIN_KEY, NO_HUB, TENANT, Space, environment, fill_searched, started_server

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
RUN_SECONDS = 200
# How many of each kind are there to be deleted.
GONE = 3


def main(server, buf, *options):
    # Stopped from outside, the server must not outlive us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with (
        tempfile.TemporaryDirectory(prefix="syft-fuzz-") as folder,
        started_server(server, folder, SYFT_ENABLE_MULTI_TENANCY="true") as (address, log),
    ):
        found = fill(Space(buf, address))
        status = fuzz(address, folder, found, options)
        if status != 0:
            print(f"--- the server's log:\n{log.read_text(errors='replace')}", flush=True)
    sys.exit(status)


def fill(space):
    """Creates what schemathesis.toml names, and returns the ids that it cannot know."""
    fill_searched(space)
    model = space.create_model("small", "extractive")
    found = {
        "DATASET": space.call("DatasetService/GetDataset", {"name": "law"})["dataset"]["id"],
        "ENDPOINT": space.call("EndpointService/GetEndpoint", {"slug": "legal-qa"})["endpoint"]["id"],
        "MODEL": model,
        "POLICY": space.create_policy("legal-qa", "access", allowed_users=["*"]),
    }
    for number in range(GONE):
        name, limited = f"gone-{number}", f"limited-{number}"
        space.create_dataset(name, "gone", {})
        space.create_model(name, "extractive")
        space.create_endpoint(name, modelId=model)
        space.create_endpoint(limited, modelId=model)
        found[f"GONE_POLICY_{number}"] = space.create_policy(limited, "rate_limit", limit="1000/s")
        found[f"GONE_KEY_{number}"] = space.create_key(name, "gone@example.org")["apiKey"]["id"]
    return found


def fuzz(address, folder, found, options):
    """Runs schemathesis and returns its exit status."""
    # There it looks for its configuration, and leaves what it leaves behind.
    configuration = Template(CONFIGURATION.read_text()).substitute(found, HUB=NO_HUB, KEY=ADMIN_KEY, TENANT=TENANT)
    Path(folder, CONFIGURATION.name).write_text(configuration)
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "run", f"http://{address}/openapi.json", *options]
    process = subprocess.Popen(command, cwd=folder, env=environment())
    try:
        return process.wait(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"schemathesis did not end within {RUN_SECONDS} s", flush=True)
        return 1
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) >= 3 else sys.exit(__doc__)
