"""Proxy before a fake engine: bytes, heads, errors and cut connections pass as they are.

Needs no Ray and no package:

python3 -m unittest discover -s test/workloads/serve-simulator
"""

import asyncio
import json
import sys
import time
import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[3] / "workloads" / "serve-simulator"
sys.path.insert(0, str(SOURCES))

from proxy import Answer, EngineProxy, UpstreamError  # noqa: E402

MARKS = [
    (b"x-llmeval-replica", b"replica-1"),
    (b"x-llmeval-engine", b"engine (stand-in)"),
]
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class FakeEngine:
    """Answers a connection by steps: bytes are written, numbers are seconds to wait, calls are awaited."""

    def __init__(self, *steps: bytes | float | Callable[[], Awaitable[None]]) -> None:
        self.steps = steps
        self.request = b""
        self.cut_by_client = asyncio.Event()

    async def __aenter__(self) -> "FakeEngine":
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        self.request = head + await reader.readexactly(length)
        end = asyncio.ensure_future(reader.read())
        for step in self.steps:
            if isinstance(step, bytes):
                writer.write(step)
            elif callable(step):
                await step()
            else:
                await asyncio.wait([end], timeout=step)
            if end.done():
                self.cut_by_client.set()
                break
        writer.close()


class Client:
    """The ASGI side: gives the request, keeps what the application sends."""

    def __init__(self, body: bytes = b"", pieces: int = 1) -> None:
        step = max(1, -(-len(body) // pieces))
        parts = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, part in enumerate(parts):
            more = index + 1 < len(parts)
            self._inbox.put_nowait(
                {"type": "http.request", "body": part, "more_body": more}
            )
        self.sent: list[dict[str, Any]] = []
        self.first_body = asyncio.Event()
        self.answers: list[Answer] = []

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        return await self._inbox.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.first_body.set()

    async def call(
        self,
        port: int,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        headers: list[tuple[bytes, bytes]] = [],
        query: bytes = b"",
    ) -> None:
        proxy = EngineProxy(
            port, "replica-1", "engine (stand-in)", "v1.2.3", self.answers.append
        )
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": headers,
        }
        await asyncio.wait_for(proxy(scope, self.receive, self.send), 10)

    @property
    def bodies(self) -> list[bytes]:
        return [m["body"] for m in self.sent if m["type"] == "http.response.body"]


class ProxyTest(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    async def test_each_chunk_passes_before_the_next_is_there(self) -> None:
        client = Client(b'{"stream":true}')

        def seen(count: int) -> Callable[[], Awaitable[None]]:
            async def wait() -> None:
                while len(client.bodies) < count:
                    await asyncio.sleep(0.001)

            return wait

        steps = [SSE_HEAD]
        for token in range(4):
            steps += [chunk(b"data: %d\n\n" % token), seen(token + 1)]
        async with FakeEngine(*steps, b"0\r\n\r\n") as engine:
            await client.call(engine.port)
        self.assertEqual(
            client.sent[0],
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream"), *MARKS],
            },
        )
        self.assertEqual(
            client.bodies,
            [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n", b""],
        )

    async def test_each_request_for_tokens_is_told_with_its_times(self) -> None:
        before = time.time_ns()
        async with FakeEngine(
            SSE_HEAD, 0.05, chunk(b"data: 0\n\n"), b"0\r\n\r\n"
        ) as engine:
            client = Client(b"{}")
            await client.call(engine.port, headers=[(b"X-Request-Id", b"r-17")])
            await client.call(engine.port, "GET", "/version")
        after = time.time_ns()
        (answer,) = client.answers
        self.assertEqual(
            (answer.request_id, answer.status, answer.complete), ("r-17", 200, True)
        )
        times = [
            before,
            answer.start_unix_ns,
            answer.first_chunk_unix_ns,
            answer.end_unix_ns,
            after,
        ]
        self.assertEqual(times, sorted(times))
        self.assertGreater(answer.first_chunk_unix_ns - answer.start_unix_ns, 4e7)

    async def test_an_answer_that_breaks_off_is_told_as_such(self) -> None:
        async with FakeEngine(SSE_HEAD, chunk(b"data: 0\n\n")) as engine:
            client = Client(b"{}")
            with self.assertRaises(UpstreamError):
                await client.call(engine.port)
        silent = Client(b"{}")
        async with FakeEngine() as engine:
            await silent.call(engine.port)
        self.assertEqual(
            [(a.status, a.first_chunk_unix_ns is None, a.complete) for a in client.answers + silent.answers],
            [(200, False, False), (None, True, False)],
        )

    async def test_request_reaches_the_engine_unchanged_but_for_the_connection(
        self,
    ) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        async with FakeEngine(answer) as engine:
            client = Client(b'{"a":1}', pieces=3)
            await client.call(
                engine.port,
                headers=[
                    (b"host", b"outside:8000"),
                    (b"X-Request-Id", b"smoke-r1-000017"),
                    (b"connection", b"keep-alive"),
                    (b"content-length", b"7"),
                    (b"content-type", b"application/json"),
                ],
                query=b"a=b",
            )
        self.assertEqual(
            engine.request,
            b"POST /v1/chat/completions?a=b HTTP/1.1\r\n"
            b"x-request-id: smoke-r1-000017\r\n"
            b"content-type: application/json\r\n"
            b"host: 127.0.0.1:%d\r\ncontent-length: 7\r\nconnection: close\r\n\r\n"
            b'{"a":1}' % engine.port,
        )
        self.assertEqual(client.bodies, [b"{}", b""])

    async def test_error_status_and_body_pass_through(self) -> None:
        body = b'{"error":{"code":429}}'
        answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 22\r\n\r\n" + body
        async with FakeEngine(answer) as engine:
            client = Client(b"{}")
            await client.call(engine.port)
        self.assertEqual(client.sent[0]["status"], 429)
        self.assertEqual(client.bodies, [body, b""])

    async def test_body_without_length_ends_with_the_connection(self) -> None:
        async with FakeEngine(b"HTTP/1.1 200 OK\r\n\r\nabc") as engine:
            client = Client()
            await client.call(engine.port, "GET", "/v1/models")
        self.assertEqual(client.bodies, [b"abc", b""])

    async def test_broken_stream_raises_and_never_looks_complete(self) -> None:
        async with FakeEngine(SSE_HEAD, chunk(b"data: 0\n\n")) as engine:
            client = Client(b"{}")
            with self.assertRaises(UpstreamError):
                await client.call(engine.port)
        self.assertEqual(client.bodies, [b"data: 0\n\n"])

    async def test_short_body_raises(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"
        async with FakeEngine(answer) as engine:
            with self.assertRaisesRegex(UpstreamError, "2 bytes are missing"):
                await Client(b"{}").call(engine.port)

    async def test_client_that_leaves_ends_the_engines_work(self) -> None:
        async with FakeEngine(SSE_HEAD, chunk(b"data: 0\n\n"), 5.0) as engine:
            client = Client(b"{}")
            call = asyncio.create_task(client.call(engine.port))
            await client.first_body.wait()
            client.leave()
            await asyncio.wait_for(call, 1)
            await asyncio.wait_for(engine.cut_by_client.wait(), 1)

    async def test_cancelled_call_ends_the_engines_work(self) -> None:
        async with FakeEngine(SSE_HEAD, chunk(b"data: 0\n\n"), 5.0) as engine:
            client = Client(b"{}")
            call = asyncio.create_task(client.call(engine.port))
            await client.first_body.wait()
            call.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(engine.cut_by_client.wait(), 1)

    async def test_absent_engine_is_a_503(self) -> None:
        client = Client(b"{}")
        await client.call(1)
        self.assertEqual(client.sent[0]["status"], 503)
        error = json.loads(client.bodies[0])["error"]
        self.assertRegex(error["message"], "^engine is not reachable: ")
        self.assertEqual(error["type"], "llmeval_proxy_error")

    async def test_engine_that_says_nothing_is_a_502(self) -> None:
        async with FakeEngine() as engine:
            client = Client(b"{}")
            await client.call(engine.port)
        self.assertEqual(client.sent[0]["status"], 502)

    async def test_version_names_the_stand_in(self) -> None:
        client = Client()
        await client.call(1, "GET", "/version")
        self.assertEqual(
            json.loads(client.bodies[0]),
            {"version": "engine (stand-in) v1.2.3", "replica": "replica-1"},
        )

    async def test_engine_administration_is_closed(self) -> None:
        client = Client(b"{}")
        await client.call(1, "POST", "/admin/config")
        self.assertEqual(client.sent[0]["status"], 404)
        self.assertEqual(
            json.loads(client.bodies[0])["error"]["message"],
            "no route POST /admin/config",
        )


if __name__ == "__main__":
    unittest.main()
