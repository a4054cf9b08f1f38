"""Queries a space as SyftHub's users do: with its SDK, and with the tokens that a hub gives.

Usage: sdk.py SERVER BUF

SERVER is the program syft-endpoints, BUF the program buf. The hub is hub.py.
"""

import json
import signal
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request

from hub import ASKER, EVE, OWNER, api_token, email, started_hub
from readme import block
from space import ADMIN_KEY, DOCS, Space, environment, fill_searched, started_server
from syfthub_sdk import EndpointRef, RetrievalError, SyftHubClient

CALL_SECONDS = 30
QUESTION = "How are policies ordered?"


def main(server, buf):
    # Stopped from outside, the server must not outlive us.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    with tempfile.TemporaryDirectory(prefix="syft-sdk-") as folder, started_hub() as hub:
        settings = {
            "SYFT_HUB_URL": hub.url,
            "SYFT_HUB_USERNAME": OWNER,
            "SYFT_HUB_API_TOKEN": api_token(OWNER),
        }
        with started_server(server, folder, **settings) as (address, log):
            world = World(hub, address, Space(buf, address))
            outcomes = [passes(check, world) for check in checks]
            if not all(outcomes):
                print(f"--- what the hub was asked: {hub.asked}\n--- the server's log:\n{log.read_text()}")
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    sys.exit(0 if all(outcomes) else 1)


def passes(check, world):
    """Runs a check, prints a line on it, and says whether it passed."""
    try:
        check(world)
    except Exception:  # A check may fail in any way; the others are still worth running.
        print(f"FAILED  {check.__doc__}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok      {check.__doc__}", flush=True)
    return True


class World:
    """A hub and a space that knows it, with an endpoint for all, `syft-docs`, and one for the asker, `members`."""

    def __init__(self, hub, address, space):
        self.hub = hub
        self.url = f"http://{address}"
        fill_searched(space)
        docs = space.call("DatasetService/GetDataset", {"name": "syft-docs"})["dataset"]
        space.create_endpoint("members", datasetId=docs["id"])
        space.create_policy("members", "access", allowed_users=[email(ASKER)])

    def client(self, name=None):
        """The SDK of a user, or of a guest."""
        return SyftHubClient(self.hub.url, api_token=api_token(name) if name else None, timeout=CALL_SECONDS)

    def token(self, name):
        """A token of a user for this space."""
        headers = {"authorization": f"Bearer {api_token(name)}"}
        request = urllib.request.Request(f"{self.hub.url}/api/v1/token?aud={OWNER}", headers=headers)
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:
            return json.load(answer)["target_token"]

    def ask(self, slug, name=None, audience=OWNER, **options):
        endpoint = EndpointRef(url=self.url, slug=slug, owner_username=audience)
        # Who asks is in the token. What is said here must not matter.
        return self.client(name).syftai.query_data_source(endpoint, QUESTION, user_email=email(ASKER), **options)


def refused(world, words, *arguments, **options):
    """Expects the SDK to say that the space refused, and returns the body of its answer."""
    try:
        found = world.ask(*arguments, **options)
    except RetrievalError as error:
        assert words in str(error), error
        return json.loads(error.detail)
    raise AssertionError(f"{found} came")


def check_user(world):
    """A user of the hub is given the documents."""
    found = world.ask("syft-docs", ASKER)
    assert found[0].content == DOCS["policies"], found
    assert (found[0].metadata, 0.5 <= found[0].score <= 1) == ({"kind": "docs"}, True), found
    assert found.policy_metadata.outcome == "success", found


def check_member(world):
    """A user whom the access policy names is given them too, by the e-mail that the hub knows."""
    assert world.ask("members", ASKER)[0].content == DOCS["policies"]
    assert "/api/v1/verify" in world.hub.asked, world.hub.asked


def check_stranger(world):
    """Another user is refused, whatever e-mail the request claims."""
    answer = refused(world, "Policy 'access' blocked request", "members", EVE)
    assert answer["policy_metadata"]["outcome"] == "access_denied", answer


def check_guest(world):
    """A guest is given the documents of an endpoint that has no policies."""
    assert world.ask("syft-docs")[0].content == DOCS["policies"]


def check_guest_refused(world):
    """A guest is refused where there are policies."""
    answer = refused(world, "", "members")
    assert isinstance(answer["detail"], str), answer


def check_token(world):
    """A token for another space is refused, in the words for no token at all."""
    answer = refused(world, "", "syft-docs", ASKER, audience=EVE)
    assert isinstance(answer["detail"], str), answer
    assert answer == refused(world, "", "syft-docs", audience=None), answer


def check_scopes(world):
    """A hub's user may query, and nothing else."""
    headers = {"authorization": f"Bearer {world.token(ASKER)}"}
    request = urllib.request.Request(f"{world.url}/api/v1/endpoints", headers=headers)
    try:
        urllib.request.urlopen(request, timeout=CALL_SECONDS)
    except urllib.error.HTTPError as error:
        assert error.code in (401, 403), error
    else:
        raise AssertionError("the list of endpoints came")


def check_readme_curl(world):
    """README's call with curl gives references and text."""
    answer = json.loads(run_block(world, "bash", block("sh", "curl", lacks="stream")))
    assert answer["references"]["documents"][0]["content"] == DOCS["policies"], answer
    assert answer["summary"]["message"]["content"].startswith("Policies are ordered"), answer
    assert answer["policy_metadata"]["outcome"] == "success", answer


def check_readme_curl_streamed(world):
    """README's streamed call with curl gives pieces, then what is known at the end, then [DONE]."""
    streamed(run_block(world, "bash", block("sh", "curl", '"stream": true')))


def check_token_streamed(world):
    """The same call with a user's token gives them too."""
    streamed(run_block(world, "bash", block("sh", "curl", '"stream": true'), KEY=world.token(ASKER)))


def check_readme_python(world):
    """README's program with the SDK prints the documents."""
    output = run_block(world, sys.executable, block("python", "syfthub_sdk"))
    assert DOCS["policies"] in output, output


def streamed(output):
    lines = output.splitlines()
    assert all(line == "" or line.startswith((":", "data: ")) for line in lines), output
    *datas, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    *pieces, last = map(json.loads, datas)
    assert done == "[DONE]", output
    assert all(list(piece) == ["content"] for piece in pieces), output
    assert "".join(piece["content"] for piece in pieces).startswith("Policies are ordered"), output
    assert last["references"]["documents"][0]["content"] == DOCS["policies"], last
    assert {"usage", "finish_reason", "policy_metadata"} <= last.keys(), last


def run_block(world, program, text, **settings):
    """Runs a program of README's against this space, and returns its output."""
    text = text.replace("http://127.0.0.1:8080", world.url).replace("your-hub-username", OWNER)
    assert world.url in text, text
    hub = {"SYFTHUB_URL": world.hub.url, "SYFTHUB_API_TOKEN": api_token(ASKER)}
    done = subprocess.run(
        [program, "-"],
        input=text,
        env=environment(**{"KEY": ADMIN_KEY, **hub, **settings}),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        timeout=CALL_SECONDS,
    )
    return done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
