"""A model server that answers by script, so that a test knows what happens when.

It speaks OpenAI's chat completions, streamed. The name of the model is the name of the script:
  paced    writes "one ", "two " and "three", each only after the client of the test has said by
           POST /arrived that it holds the piece before
  endless  writes "on " until its caller hangs up; GET /hung-up waits for that and answers 204,
           or 504 if it does not happen
  flaky    ends its first answer to any question before it has begun, and answers "again" from then on
  cut      writes "one " and, once that has arrived, ends in the middle of its answer
"""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The longest that a piece waits for the one before to arrive.
ARRIVE_SECONDS = 15
# Between two pieces of the endless answer.
PIECE_SECONDS = 0.02


@contextlib.contextmanager
def started_upstream(handler=None):
    """Gives the server's URL. The handler is a Handler that may do more."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler or Handler) as server:
        server.arrived = threading.Event()
        server.hung_up = threading.Event()
        server.stopping = threading.Event()
        server.asked = set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.stopping.set()
        server.shutdown()


class Handler(BaseHTTPRequestHandler):
    # How long the server may go on with a model's answer that nobody reads.
    hang_up_seconds = 5

    def do_GET(self):
        if self.path != "/hung-up":
            return self.answer(404)
        return self.answer(204 if self.server.hung_up.wait(self.hang_up_seconds) else 504)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/arrived":
            self.server.arrived.set()
            return self.answer(204)
        if self.path != "/v1/chat/completions":
            return self.answer(404)
        request = json.loads(body)
        script = getattr(self, request["model"])
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        return script(request["messages"][-1]["content"])

    def paced(self, _):
        for piece in ["one ", "two ", "three"]:
            if not self.arrives(piece):
                # The answer is then cut off, and the stream of the test fails.
                return self.log_error("nobody said that %r arrived", piece)
        return self.finish_answer()

    def endless(self, _):
        self.server.hung_up.clear()
        with contextlib.suppress(ConnectionError):
            # The event serves as a clock that the end of the test can stop.
            while not self.server.stopping.wait(PIECE_SECONDS):
                self.write("on ")
        self.server.hung_up.set()

    def flaky(self, question):
        if question not in self.server.asked:
            self.server.asked.add(question)
            return
        self.write("again")
        self.finish_answer()

    def cut(self, _):
        self.arrives("one ")

    def arrives(self, piece):
        """Writes a piece, and waits until the client of the test has said that it came."""
        self.server.arrived.clear()
        self.write(piece)
        return self.server.arrived.wait(timeout=ARRIVE_SECONDS)

    def write(self, text):
        self.send({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]})

    def finish_answer(self):
        self.send({"id": "x", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def send(self, chunk):
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, *_):
        pass
