"""Who may talk to the studio: the holder of the address, from the page that it served, and nobody else.

A page of any web site can send requests to a server on this machine, and a name that resolves to it can make them look
like its own. So every request and WebSocket has to carry the random token (the first part of its path), name a host
that this server is known by, and come from a page of this server.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = ("GET", "HEAD")
REFUSED = "This address is not complete or not yours: open the one that `ranet-jax studio` printed."
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def new_token() -> str:
    """A token that cannot be guessed: 256 random bits, as 43 letters, digits, "-" and "_"."""
    return secrets.token_urlsafe(32)


class Guard:
    """ASGI middleware in front of everything: refuses what does not belong, and hides the token from what is behind."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str], any_address: bool = False):
        """Wraps an application.

        Args:
            app: sees paths without the token.
            token: see `new_token`.
            hosts: names and addresses that this server is known by, in small letters, without a port.
            any_address: also every numeric address: the server listens on all of this machine's, which it does not
                know. A numeric address is never a foreign name that was made to resolve to it.
        """
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(hosts)
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given, _, rest = scope["path"].removeprefix("/").partition("/")
        allowed = hmac.compare_digest(given.encode(), self._token)
        allowed &= self._comes_from_here(scope)
        if not allowed:
            await _refuse(scope, receive, send)
            return
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode(), "root_path": ""}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await self._app(inner, receive, send_guarded)

    def _comes_from_here(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_known(host):
            return False
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        if origin is None:
            # Browsers name the origin of all that changes anything, and of every WebSocket.
            return scope["type"] == "http" and scope["method"] in SAFE_METHODS
        return origin.lower() == f"http://{host.lower()}"

    def _is_known(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in self._hosts:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": "refused"})
        return
    await PlainTextResponse(REFUSED, status_code=403, headers=HEADERS)(scope, receive, send)
