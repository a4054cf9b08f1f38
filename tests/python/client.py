"""Uses a server as a Python program would: over the network, with stubs that protoc made.

Usage: client.py path/to/syft-endpoints
"""

import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from google.rpc import error_details_pb2 as details
from grpc_health.v1 import health_pb2 as health
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from syft.space.v1 import access_service_pb2 as access
from syft.space.v1 import dataset_service_pb2 as dataset
from syft.space.v1 import endpoint_service_pb2 as endpoint
from syft.space.v1 import model_service_pb2 as model
from syft.space.v1 import policy_service_pb2 as policy
from syft.space.v1.access_service_pb2_grpc import AccessServiceStub
from syft.space.v1.dataset_service_pb2_grpc import DatasetServiceStub
from syft.space.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from syft.space.v1.model_service_pb2_grpc import ModelServiceStub
from syft.space.v1.policy_service_pb2_grpc import PolicyServiceStub
from syft.space.v1.query_pb2 import Query, StopSequences

ADMIN_KEY = "the-admin-key-of-the-python-client-test"
START_SECONDS = 60
CALL_SECONDS = 30
STOP_SECONDS = 30

# By id, as the server lists them.
DOCUMENTS = {
    "copyright": "The copyright term is seventy years after the death of the author.",
    "dogs": "Dogs bark at night.",
    "fair-use": "Fair use allows short quotations.\nIts copyright exception has no fixed term.",
    "patents": "A patent term is twenty years from filing.",
    "trademarks": "A trademark can be renewed without end.",
}


def main(binary):
    # In the order of this file: later checks use what earlier ones make.
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    with fake_openai() as upstream, started(binary) as server:
        space = Space(server, upstream)
        outcomes = [passes(check, space) for check in checks]
        if not all(outcomes):
            print(f"--- the server's log:\n{server.log()}")
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    sys.exit(0 if all(outcomes) else 1)


def passes(check, space):
    """Runs a check, prints a line on it, and says whether it passed."""
    try:
        check(space)
    except Exception:  # A check may fail in any way; the others are still worth running.
        print(f"FAILED  {check.__doc__}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok      {check.__doc__}", flush=True)
    return True


class Server:
    """A server process with a data folder of its own."""

    def __init__(self, binary, folder):
        self.log_file = Path(folder, "log")
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{folder}/data"]
        # Settings of the developer's own space stay out of it.
        env = {name: value for name, value in os.environ.items() if not name.startswith("SYFT_")}
        env |= {"SYFT_ADMIN_API_KEY": ADMIN_KEY, "SYFT_METRICS_LISTEN": "127.0.0.1:0", "NO_PROXY": "127.0.0.1"}
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)

    def wait_until_ready(self):
        """Waits for the line with the address, which the server prints once it listens."""
        # A server that hangs is killed, which ends its output.
        timer = threading.Timer(START_SECONDS, self.process.kill)
        timer.start()
        lines = (line for line in self.process.stdout if line.startswith("listening on "))
        self.address = next(lines, "").removeprefix("listening on ").strip()
        timer.cancel()
        if not self.address:
            sys.exit(f"the server did not start (status {self.process.wait()}); its log:\n{self.log()}")

    def log(self):
        return self.log_file.read_text(errors="replace")


@contextlib.contextmanager
def started(binary):
    with tempfile.TemporaryDirectory(prefix="syft-python-") as folder:
        server = Server(binary, folder)
        try:
            server.wait_until_ready()
            yield server
        finally:
            server.process.kill()
            server.process.wait()


@contextlib.contextmanager
def fake_openai():
    """A model server whose answers go on until its client hangs up."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EndlessAnswer) as server:
        server.requests = []
        server.hung_up = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class EndlessAnswer(BaseHTTPRequestHandler):
    CHUNK = {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": "tok "}}]}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, self.headers["authorization"], body))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            while True:
                self.wfile.write(f"data: {json.dumps(self.CHUNK)}\n\n".encode())
                time.sleep(0.05)
        self.server.hung_up.set()

    def log_message(self, *_):
        pass


class Space:
    """Clients of one server."""

    def __init__(self, server, upstream):
        # A proxy in the environment is not for addresses of this machine.
        channel = grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)])
        self.access = AccessServiceStub(channel)
        self.datasets = DatasetServiceStub(channel)
        self.endpoints = EndpointServiceStub(channel)
        self.models = ModelServiceStub(channel)
        self.policies = PolicyServiceStub(channel)
        self.health = HealthStub(channel)
        self.server = server
        self.upstream = upstream

    def create_model(self, **fields):
        request = model.CreateModelRequest(model=model.Model(**fields))
        return self.models.CreateModel(request, **by()).model

    def create_endpoint(self, slug, **fields):
        new = endpoint.Endpoint(slug=slug, name=slug, published=True, **fields)
        self.endpoints.CreateEndpoint(endpoint.CreateEndpointRequest(endpoint=new), **by())

    def create_policy(self, slug, kind, configuration):
        new = policy.Policy(name=kind, policy_type=kind, endpoint_slug=slug, configuration=configuration)
        self.policies.CreatePolicy(policy.CreatePolicyRequest(policy=new), **by())

    def query(self, slug, query, key=ADMIN_KEY):
        """Returns the answer and the query's id from the metadata."""
        request = endpoint.QueryRequest(slug=slug, query=query)
        answer, call = self.endpoints.Query.with_call(request, **by(key))
        return answer, query_id(call)

    def stream(self, slug, query):
        return self.endpoints.StreamQuery(endpoint.StreamQueryRequest(slug=slug, query=query), **by())


def by(key=ADMIN_KEY):
    """Options of a call by the holder of `key`."""
    metadata = [("authorization", f"Bearer {key}")] if key else []
    return {"metadata": metadata, "timeout": CALL_SECONDS}


def query_id(call):
    return dict(call.initial_metadata())["x-query-id"]


def question():
    return Query(text="What is the copyright term?", limit=2, max_tokens=200, stop_sequences=StopSequences())


@contextlib.contextmanager
def fails_with(code, reason):
    """Expects the block to fail so. Gives a dictionary that then holds the details by their type."""
    found = {}
    try:
        yield found
    except grpc.RpcError as error:
        assert error.code() is code, error
        packed = rpc_status.from_call(error).details
        kinds = (details.ErrorInfo, details.BadRequest, details.RetryInfo)
        found |= {kind: kind.FromString(any.value) for any in packed for kind in kinds if any.Is(kind.DESCRIPTOR)}
        info = found[details.ErrorInfo]
        assert (info.reason, info.domain) == (reason, "space.syft"), info
    else:
        raise AssertionError(f"no {code} came")


def check_health(space):
    """The health service says SERVING, also to callers without a credential."""
    answer = space.health.Check(health.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert answer.status == health.HealthCheckResponse.SERVING, answer


def check_unauthenticated(space):
    """A call without a credential is refused."""
    with fails_with(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"):
        space.query("legal-qa", question(), key=None)


def check_ingestion(space):
    """Documents sent in two messages are acknowledged and listed."""
    new = dataset.Dataset(name="law", dtype="local", configuration={})
    space.law = space.datasets.CreateDataset(dataset.CreateDatasetRequest(dataset=new), **by()).dataset
    documents = [dataset.Document(id=id, content=text, metadata={"kind": "law"}) for id, text in DOCUMENTS.items()]
    messages = [
        dataset.IngestDocumentsRequest(dataset="law", documents=documents[:2]),
        dataset.IngestDocumentsRequest(documents=documents[2:]),
    ]
    batches = list(space.datasets.IngestDocuments(iter(messages), **by()))
    acknowledged = [batch.acknowledged for batch in batches]
    assert acknowledged == sorted(set(acknowledged)) and acknowledged[-1] == len(documents), acknowledged
    revisions = [batch.revision for batch in batches]
    assert revisions == sorted(set(revisions)) and revisions[0] > 0, revisions
    listed = space.datasets.ListDocuments(dataset.ListDocumentsRequest(dataset="law"), **by()).documents
    assert list(listed) == documents, listed


def check_search(space):
    """A search finds the last document once the index has caught up."""
    request = dataset.SearchDatasetRequest(name="law", text="renewed trademark")
    deadline = time.monotonic() + CALL_SECONDS
    found = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.1)
        found = space.datasets.SearchDataset(request, **by()).references.documents
    assert [document.document_id for document in found] == ["trademarks"], found


def check_endpoint(space):
    """An endpoint is made of a dataset, a model and a policy."""
    sentences = space.create_model(name="sentences", dtype="extractive")
    parts = {"dataset_id": space.law.id, "model_id": sentences.id}
    space.create_endpoint("legal-qa", response_type=endpoint.RESPONSE_TYPE_BOTH, **parts)
    space.create_policy("legal-qa", "access", {"denied_users": ["eve@*"]})
    found = space.endpoints.GetEndpoint(endpoint.GetEndpointRequest(slug="legal-qa"), **by())
    assert (found.dataset.name, found.model.name) == ("law", "sentences"), found
    assert [attached.policy_type for attached in found.policies] == ["access"], found


def check_access_policy(space):
    """A caller whom the access policy denies is refused; others are served."""
    eve = access.ApiKey(name="Eve", email="eve@example.org", scopes=[access.SCOPE_QUERY])
    key = space.access.CreateApiKey(access.CreateApiKeyRequest(api_key=eve), **by()).secret
    with fails_with(grpc.StatusCode.PERMISSION_DENIED, "POLICY_VIOLATION"):
        space.query("legal-qa", question(), key)
    space.query("legal-qa", question())


def check_stream(space):
    """A stream is references, deltas, one completed; the unary answer is the same in one piece."""
    call = space.stream("legal-qa", question())
    streamed_id = query_id(call)
    events = list(call)
    kinds = [event.WhichOneof("event") for event in events]
    assert len(kinds) > 2 and kinds == ["references", *["delta"] * (len(kinds) - 2), "completed"], kinds
    references, completed = events[0].references, events[-1].completed
    scores = [document.similarity_score for document in references.documents]
    assert 1 <= len(scores) <= 2 and scores == sorted(scores, reverse=True), references
    assert references.documents[0].document_id == "copyright", references
    assert references.documents[0].metadata["kind"] == "law", references
    assert completed.query_id == streamed_id, completed

    answer, unary_id = space.query("legal-qa", question())
    assert answer.query_id == unary_id != streamed_id, answer
    assert answer.references == references, answer
    assert answer.summary.content == "".join(event.delta.content for event in events[1:-1]), answer
    assert answer.summary.completion == completed.completion, answer
    assert "seventy years" in answer.summary.content, answer


def check_cancellation(space):
    """Cancelling a stream ends the request to the model."""
    base_url = f"http://127.0.0.1:{space.upstream.server_port}/v1"
    configuration = {"base_url": base_url, "model": "m", "api_key": "test"}
    endless = space.create_model(name="endless", dtype="openai", configuration=configuration)
    assert endless.configuration["api_key"] == "[redacted]", endless
    space.create_endpoint("endless", response_type=endpoint.RESPONSE_TYPE_SUMMARY, model_id=endless.id)

    call = space.stream("endless", Query(text="Go on", stop_sequences=StopSequences()))
    deltas = [event.delta.content for event in itertools.islice(call, 3)]
    assert len(deltas) == 3 and all(delta.startswith("tok ") for delta in deltas), deltas
    assert not space.upstream.hung_up.is_set(), "the request to the model has ended by itself"
    call.cancel()
    assert space.upstream.hung_up.wait(timeout=2), "the model is still writing"
    assert call.code() is grpc.StatusCode.CANCELLED, call
    [(path, authorization, body)] = space.upstream.requests
    assert (path, authorization) == ("/v1/chat/completions", "Bearer test"), path
    assert (body["model"], body["stream"]) == ("m", True), body


def check_not_found(space):
    """A missing endpoint is NOT_FOUND."""
    with fails_with(grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND"):
        space.query("missing", question())


def check_violations(space):
    """All invalid fields of a query are named at once."""
    with fails_with(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as found:
        space.query("legal-qa", Query(text="?", limit=0, temperature=9, similarity_threshold=math.nan))
    fields = sorted(violation.field for violation in found[details.BadRequest].field_violations)
    assert fields == ["query.limit", "query.similarity_threshold", "query.temperature"], fields


def check_rate_limit(space):
    """The second query of the hour is refused, with the time to wait."""
    space.create_endpoint("limited", response_type=endpoint.RESPONSE_TYPE_RAW, dataset_id=space.law.id)
    space.create_policy("limited", "rate_limit", {"limit": "1/h"})
    space.query("limited", question())
    with fails_with(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED") as found:
        space.query("limited", question())
    wait = found[details.RetryInfo].retry_delay.ToTimedelta().total_seconds()
    assert 0 < wait <= 3600, wait


def check_stop(space):
    """SIGTERM ends the server with status 0, although a client is connected."""
    space.server.process.terminate()
    assert space.server.process.wait(timeout=STOP_SECONDS) == 0, space.server.process.returncode


if __name__ == "__main__":
    main(*sys.argv[1:] or sys.exit(__doc__))
