"""Who may ask: pages that this server gave out, under its own names, and nobody else.

A page elsewhere may send requests to 127.0.0.1 through a browser, with a name of its own that it points here (DNS
rebinding), or across origins. The first has the wrong Host, the second the wrong Origin, and neither may set a header
without asking first, which is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADER", "Guard", "policy"]

HEADER = "x-actsmith"
"""Every POST has it; a page elsewhere cannot set it."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
MOST_BODY = 1 << 20
MOST_SAMPLES = 1 << 25
SAMPLES = "/api/law"


def policy() -> Mapping[str, str]:
    """Headers of every answer: scripts and styles from here alone, none inline; no frame, no other origin."""
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


class Guard:
    """Refuses before anything is read.

    Args:
        app: what is guarded.
        port: that is served.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in policy().items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        refusal = self.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            status, why = refusal
            await PlainTextResponse(f"{why}\n", status)(scope, receive, named)
            return
        limit = MOST_SAMPLES if scope["path"] == SAMPLES else MOST_BODY
        await self.app(scope, _bounded(receive, limit), named)

    def refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, None where the request may pass."""
        if headers.getlist("host") != [headers.get("host", "")] or headers.get("host", "").lower() not in self.hosts:
            return 421, "This server answers to its own names alone: 127.0.0.1 and localhost."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.lower() not in {f"http://{host}" for host in self.hosts}
        if foreign or site not in ("same-origin", "none"):
            return 403, "Requests of other pages are refused."
        if method not in ("GET", "HEAD", "POST"):
            return 405, "Expected GET or POST."
        if method == "POST" and headers.get(HEADER) != "1":
            return 403, f"A POST needs the header {HEADER}: 1."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > (MOST_SAMPLES if path == SAMPLES else MOST_BODY):
            return 413, "Too large: 32 MB of samples, 1 MB of anything else."
        return None


class TooLargeError(Exception):
    """More was sent than was announced."""


def _bounded(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLargeError
        return message

    return counted
