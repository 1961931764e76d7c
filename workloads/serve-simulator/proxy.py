"""ASGI application between Serve and the replica's engine: hands bytes on as they come.

Standard library only.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# The engine's other routes stay closed: /admin/config would reach one replica out of many,
# unseen by the results.
ROUTES = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("GET", "/v1/models"),
    ("GET", "/health"),
}
TOKEN_PATHS = {"/v1/chat/completions", "/v1/completions"}

# Meant for one connection only (RFC 9110, 7.6.1), or set anew by this client.
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"expect",
}
# Serve's own proxy sets these; the engine's would stand beside them.
SET_BY_SERVE = {b"date", b"server", b"x-request-id"}

CONNECT_TIMEOUT_S = 5
MAX_READ_BYTES = 64 * 1024


class UpstreamError(Exception):
    """The engine cannot be reached, or its answer broke off."""


@dataclass(frozen=True)
class Answer:
    """One request for tokens and what became of it, as seen from in front of the engine."""

    request_id: str
    """The client's x-request-id; empty where it sent none."""
    status: int | None
    """The engine's HTTP status; None where there was no answer."""
    start_unix_ns: int
    first_chunk_unix_ns: int | None
    end_unix_ns: int
    complete: bool
    """False where the client left or the engine broke off."""


OnAnswer = Callable[[Answer], None]


class _Watch:
    """Stamps one request: its start by the wall clock, the rest by a clock that never jumps."""

    def __init__(self, scope: Message) -> None:
        self._start_unix_ns = time.time_ns()
        self._start_ns = time.perf_counter_ns()
        headers = {name.lower(): value for name, value in scope["headers"]}
        self._request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        self._first_chunk_unix_ns: int | None = None
        self._status: int | None = None

    def _now(self) -> int:
        return self._start_unix_ns + time.perf_counter_ns() - self._start_ns

    def head(self, status: int) -> None:
        self._status = status

    def chunk(self) -> None:
        if self._first_chunk_unix_ns is None:
            self._first_chunk_unix_ns = self._now()

    def answer(self, complete: bool) -> Answer:
        return Answer(
            self._request_id,
            self._status,
            self._start_unix_ns,
            self._first_chunk_unix_ns,
            self._now(),
            complete,
        )


class EngineProxy:
    """Forwards to 127.0.0.1:`port`.

    One connection for each request: nothing stale, and closing it cancels.
    """

    def __init__(
        self,
        port: int,
        replica: str,
        engine: str,
        version: str,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._port = port
        self._on_answer = on_answer
        self._host = b"127.0.0.1:%d" % port
        self._version = {"version": f"{engine} {version}", "replica": replica}
        self._marks: Headers = [
            (b"x-llmeval-replica", replica.encode()),
            (b"x-llmeval-engine", engine.encode()),
        ]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/version"):
            await self._send_json(send, 200, self._version)
        elif (method, path) in ROUTES:
            await self._forward(scope, receive, send)
        else:
            await self._send_error(send, 404, f"no route {method} {path}")

    async def _forward(self, scope: Message, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self._port, limit=MAX_READ_BYTES
                )
        except (OSError, TimeoutError) as error:
            await self._send_error(send, 503, f"engine is not reachable: {error}")
            return
        # A client that goes away cuts the engine's connection too: the read below fails then.
        watcher = asyncio.create_task(_abort_on_disconnect(receive, writer))
        watch = _Watch(scope)
        complete = False
        try:
            writer.write(self._request_head(scope, len(body)) + body)
            complete = await self._relay(reader, send, watch)
        except (OSError, asyncio.IncompleteReadError, UpstreamError) as error:
            if not watcher.done():
                # Raised, not ended: the client must see a broken stream, never a short
                # but complete one.
                raise UpstreamError(f"engine's answer broke off: {error}") from error
        finally:
            watcher.cancel()
            writer.transport.abort()
            if self._on_answer is not None and scope["path"] in TOKEN_PATHS:
                self._on_answer(watch.answer(complete))

    async def _relay(
        self, reader: asyncio.StreamReader, send: Send, watch: _Watch
    ) -> bool:
        """Hands the engine's answer on; False where there was none."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            await self._send_error(send, 502, f"engine closed without an answer: {error}")
            return False
        status, headers = _parse_head(head)
        watch.head(status)
        dropped = HOP_BY_HOP | SET_BY_SERVE
        kept = [pair for pair in headers if pair[0] not in dropped]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": kept + self._marks,
            }
        )
        async for piece in _body_pieces(reader, dict(headers)):
            watch.chunk()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return True

    def _request_head(self, scope: Message, length: int) -> bytes:
        target = scope["path"].encode()
        if scope.get("query_string"):
            target += b"?" + scope["query_string"]
        lines = [scope["method"].encode() + b" " + target + b" HTTP/1.1"]
        for name, value in scope["headers"]:
            name = name.lower()
            if name not in HOP_BY_HOP and name not in (b"host", b"content-length"):
                lines.append(name + b": " + value)
        lines.append(b"host: " + self._host)
        lines.append(b"content-length: %d" % length)
        lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _send_error(self, send: Send, status: int, text: str) -> None:
        error = {"message": text, "type": "llmeval_proxy_error", "code": status}
        await self._send_json(send, status, {"error": error})

    async def _send_json(self, send: Send, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": headers + self._marks,
            }
        )
        await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes | None:
    """The whole request body; None when the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _abort_on_disconnect(receive: Receive, writer: asyncio.StreamWriter) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    writer.transport.abort()


def _parse_head(head: bytes) -> tuple[int, Headers]:
    lines = head.split(b"\r\n")
    try:
        status = int(lines[0].split(b" ", 2)[1])
        pairs = [line.split(b":", 1) for line in lines[1:] if line]
        return status, [(name.strip().lower(), value.strip()) for name, value in pairs]
    except (IndexError, ValueError):
        raise UpstreamError(f"malformed answer head {lines[0]!r}") from None


async def _body_pieces(
    reader: asyncio.StreamReader, headers: dict[bytes, bytes]
) -> AsyncIterator[bytes]:
    """The body's bytes in the pieces in which the engine wrote them: one chunk is one piece."""
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = await reader.readexactly(size + 2)
            if size == 0:
                return
            yield piece[:-2]
    elif b"content-length" in headers:
        remaining = int(headers[b"content-length"])
        while remaining > 0:
            piece = await reader.read(min(remaining, MAX_READ_BYTES))
            if not piece:
                raise UpstreamError(f"{remaining} bytes are missing")
            remaining -= len(piece)
            yield piece
    else:
        while piece := await reader.read(MAX_READ_BYTES):
            yield piece
