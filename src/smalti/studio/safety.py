"""Who may ask, from where, and how much: looked at before any request is read.

A page of another site in the same browser can send requests to a local server, by its name or, where that
site's name is made to mean this machine, by the site's own. So names are checked, and of requests that change
something the page that they come from; what is asked with a token comes with it in a header or a cookie.
"""

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

from smalti.errors import UserError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LEAST = 16  # characters of a token
CLIENT = "smalti_client"  # the cookie by which turns go round
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-cache",  # asked for anew, and not sent again where it is the same
}


class Refused(UserError):
    """A request that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, expected: str, got: str, remedy: str) -> None:
        super().__init__(expected, got, remedy)
        self.status = status


@dataclass(frozen=True)
class Door:
    """What is let in."""

    host: str  # on which the server listens
    port: int
    token: str | None  # None: whoever can reach this machine's loopback
    most: int  # bytes of a request

    @property
    def names(self) -> set[str]:
        """Return the names by which browsers may ask, beside addresses where all may reach it."""
        here = {"localhost", "127.0.0.1", "::1", self.host.lower()}
        return here if is_loopback(self.host) else here | {socket.gethostname().lower()}

    def check(self, method: str, path: str, headers: MutableMapping[str, str]) -> None:
        """Raise Refused for what does not come from our page or a program of the same person."""
        host = headers.get("host", "")
        name = _name(host)
        if name not in self.names and (is_loopback(self.host) or not _is_address(name)):
            raise Refused(403, f"a request to {self.host}", host[:80] or "no name", f"open http://{self.at}/")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        changes = method not in ("GET", "HEAD")
        is_ours = origin is None or origin.partition("://")[2] == host
        if (changes and not is_ours) or (site not in ("same-origin", "none") and path != "/"):
            got = f"one from {(origin or site)[:80]}"
            raise Refused(403, "a request of the studio's own page", got, f"open http://{self.at}/")
        if self.token is not None and not self._is_known(headers):
            remedy = "open the address that smalti studio printed, or send Authorization: Bearer TOKEN"
            raise Refused(401, "the studio's token", "another one, or none", remedy)

    def entry(self, path: str, query: bytes) -> list[tuple[bytes, bytes]] | None:
        """Return headers that keep a token that came in the page's address; None where there is none."""
        given = parse_qs(query.decode("latin-1")).get("token", [""])[0]
        if self.token is None or path != "/" or not _same(given, self.token):
            return None
        kept = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        return [(b"location", b"/"), (b"set-cookie", kept.encode())]

    @property
    def at(self) -> str:
        """Return host and port as an address has them; of all of a machine's addresses its name."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def cookie(self) -> str:
        """Return the name of the cookie that holds the token: browsers share cookies between ports."""
        return f"smalti_token_{self.port}"

    @property
    def address(self) -> str:
        """Return what to open in a browser."""
        query = "" if self.token is None else f"?{urlencode({'token': self.token})}"
        return f"http://{self.at}/{query}"

    def _is_known(self, headers: MutableMapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return _same(given.strip(), self.token or "")
        return _same(cookies(headers).get(self.cookie, ""), self.token or "")


class Guard:
    """Stands before the app: refuses, bounds what is read, and adds the headers of every answer."""

    def __init__(self, app: Any, door: Door, answer: Callable[[UserError, int], Any]) -> None:
        """answer: makes of a refusal an app that says it."""
        self.app, self.door, self.answer = app, door, answer

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client = cookies(headers).get(CLIENT, "")
        known = len(client) == len(fresh_client()) and client.replace("-", "").replace("_", "").isalnum()
        scope.setdefault("state", {})["client"] = client = client if known else fresh_client()
        told = {name.encode(): value.encode() for name, value in HEADERS.items()}
        kept = f"{CLIENT}={client}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(name, value) for name, value in told.items() if name not in given]
                more += [] if known else [(b"set-cookie", kept)]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        entry = self.door.entry(scope["path"], scope["query_string"])
        if entry is not None:
            await answer({"type": "http.response.start", "status": 303, "headers": entry})
            await answer({"type": "http.response.body", "body": b""})
            return
        try:
            self.door.check(scope["method"], scope["path"], headers)
            self._check_length(headers.get("content-length", "0"))
        except Refused as mistake:
            await self.answer(mistake, mistake.status)(scope, receive, answer)
            return
        await self.app(scope, self._bounded(receive), answer)

    def _check_length(self, length: str) -> None:
        if not length.isdecimal() or int(length) > self.door.most:
            remedy = "send a smaller image"
            raise Refused(413, f"a request of at most {self.door.most} bytes", length[:20], remedy)

    def _bounded(self, receive: Receive) -> Receive:
        """Return what reads a request of unknown length, but not more than may come."""
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            self._check_length(str(read))
            return message

        return bounded


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def fresh_client() -> str:
    """Return a new client's name."""
    return secrets.token_urlsafe(12)


def checked(token: str) -> str:
    """Return a token; UserError for one that could be guessed, or that no address can hold."""
    if len(token) < LEAST or not token.isascii() or not token.replace("-", "").replace("_", "").isalnum():
        expected = f"a token of at least {LEAST} letters, digits, - and _"
        raise UserError(expected, f"one of {len(token)} characters", "leave --token out: one is made")
    return token


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def cookies(headers: MutableMapping[str, str]) -> dict[str, str]:
    """Return the cookies of a request by name, also beside those of other servers here that are odd."""
    from starlette.requests import cookie_parser  # of the extra, which is asked for first

    return cookie_parser(headers.get("cookie", ""))


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    inner, bracket, _ = host.removeprefix("[").partition("]")
    return inner.lower() if bracket else host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
