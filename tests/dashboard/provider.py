"""A small OpenID Connect provider that signs everybody in as one person."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt


class Provider:
    """Answers on a free port of localhost.

    Args:
        claims: what it says about the person.
        client: id of the only client that it knows.
    """

    def __init__(self, claims: Mapping[str, str], client: str) -> None:
        self._claims = dict(claims)
        self._client = client
        self._key = jwk.RSAKey.generate_key(2048, {"kid": "one"})
        self._nonces: dict[str, str] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://localhost:{self.server.server_address[1]}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(place.query))
                if place.path == "/authorize":
                    self.send_response(302)
                    self.send_header("location", provider.authorize(query))
                    self.end_headers()
                    return
                self._send({"/.well-known/openid-configuration": provider.configuration,
                            "/keys": provider.keys}[place.path]())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._send(provider.token(dict(urllib.parse.parse_qsl(body))))

            def _send(self, values: dict[str, Any]) -> None:
                data = json.dumps(values).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *values: object) -> None:
                """Nothing."""

        return Handler

    def configuration(self) -> dict[str, Any]:
        """Where everything is, OpenID Connect Discovery 1.0."""
        return {
            "issuer": self.address, "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token", "jwks_uri": f"{self.address}/keys",
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def keys(self) -> dict[str, Any]:
        """The public key of the tokens."""
        return {"keys": [self._key.as_dict(private=False)]}

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser goes after the sign-in."""
        assert query["client_id"] == self._client
        code = f"code-{len(self._nonces)}"
        self._nonces[code] = query["nonce"]
        back = urllib.parse.urlencode({"code": code, "state": query["state"]})
        return f"{query['redirect_uri']}?{back}"

    def token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The signed claims for a code."""
        now = int(time.time())
        claims = {"iss": self.address, "aud": self._client, "sub": "17", "iat": now,
                  "exp": now + 600, "nonce": self._nonces.pop(form["code"]), **self._claims}
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._key)
        return {"access_token": "none", "token_type": "Bearer", "expires_in": 600,
                "id_token": signed}


@contextmanager
def providing(claims: Mapping[str, str], *, client: str) -> Iterator[Provider]:
    """A provider that is stopped in the end."""
    provider = Provider(claims, client)
    threading.Thread(target=provider.server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
