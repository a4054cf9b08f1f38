"""A SyftHub by script: it gives satellite tokens, and says whose they are.

It answers what the SDK and a space ask of a real one:
  GET  /api/v1/token?aud=        a token for whoever the API token in the request belongs to
  GET  /api/v1/token/guest?aud=  a token for anyone
  GET  /.well-known/jwks.json    the key that they are signed with
  GET  /api/v1/users/me          who the API token in the request belongs to
  POST /api/v1/verify            whose a token is; only its audience may ask
"""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

# The hub's setting of this name has this value unless somebody sets it: it is not the hub's URL.
ISSUER = "https://hub.syft.com"
KEY_ID = "hub-key-1"
TOKEN_SECONDS = 60

OWNER, ASKER, EVE = "spaceowner", "asker", "eve"
# User ids, as the hub numbers them.
USERS = {"1": OWNER, "2": ASKER, "3": EVE}


def api_token(name):
    return f"syft_pat_{name}"


def email(name):
    return f"{name}@example.org"


@contextlib.contextmanager
def started_hub():
    """Gives the hub, a server with its `url` and `asked`: the paths in the order in which they were asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as hub:
        hub.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        hub.url = f"http://127.0.0.1:{hub.server_port}"
        hub.asked = []
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        self.server.asked.append(url.path)
        audience = parse_qs(url.query).get("aud", [""])[0].strip().lower()
        match url.path:
            case "/.well-known/jwks.json":
                self.answer(200, {"keys": [self.public_key()]})
            case "/api/v1/token" | "/api/v1/users/me" if self.caller() is None:
                self.answer(401, {"detail": "Could not validate credentials"})
            case "/api/v1/users/me":
                name = USERS[self.caller()]
                self.answer(200, {"id": int(self.caller()), "username": name, "email": email(name), "role": "user"})
            case "/api/v1/token" | "/api/v1/token/guest" if audience not in USERS.values():
                self.answer(404, {"detail": {"code": "AUDIENCE_NOT_FOUND", "message": "?", "audience": audience}})
            case "/api/v1/token":
                self.answer(200, self.token(self.caller(), "user", audience))
            case "/api/v1/token/guest":
                self.answer(200, self.token("guest", "guest", audience))
            case _:
                self.answer(404, {"detail": "Not Found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append(self.path)
        if self.path != "/api/v1/verify":
            return self.answer(404, {"detail": "Not Found"})
        if self.caller() is None:
            return self.answer(401, {"detail": "Could not validate credentials"})
        return self.answer(200, self.verified(json.loads(body)["token"], USERS[self.caller()]))

    def caller(self):
        """The id of the user whose API token came, if one did."""
        for id, name in USERS.items():
            if self.headers.get("authorization") == f"Bearer {api_token(name)}":
                return id
        return None

    def token(self, subject, role, audience):
        now = int(time.time())
        claims = {"sub": subject, "iss": ISSUER, "aud": audience, "exp": now + TOKEN_SECONDS, "iat": now, "role": role}
        token = jwt.encode(claims, self.server.key, algorithm="RS256", headers={"kid": KEY_ID})
        return {"target_token": token, "expires_in": TOKEN_SECONDS}

    def verified(self, token, audience):
        try:
            claims = jwt.decode(
                token, self.server.key.public_key(), algorithms=["RS256"], audience=audience, issuer=ISSUER
            )
        except jwt.InvalidAudienceError as error:
            return {"valid": False, "error": "audience_mismatch", "message": str(error)}
        except jwt.InvalidTokenError as error:
            return {"valid": False, "error": "invalid_token", "message": str(error)}
        subject = claims["sub"]
        who = (
            {"email": "guest@syfthub.org", "username": "guest"}
            if subject == "guest"
            else {"email": email(USERS[subject]), "username": USERS[subject]}
        )
        kept = {name: claims[name] for name in ("sub", "role", "aud", "exp", "iat")}
        return {"valid": True, **kept, **who}

    def public_key(self):
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.server.key.public_key(), as_dict=True)
        return {"kty": "RSA", "kid": KEY_ID, "use": "sig", "alg": "RS256", "n": key["n"], "e": key["e"]}

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, *_):
        pass
