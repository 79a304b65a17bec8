"""A proxy between one operator and the API server: it sees every call as bytes, and breaks those that a test names."""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
_PER_HOP = {"connection", "transfer-encoding", "host"}
_GONE = {"type": "ERROR", "object": {
    "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
    "message": "too old resource version"}}


@dataclass(frozen=True)
class Call:
    """One request in the API server's own words: `verb` as RBAC knows it."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def write(self) -> bool:
        """Whether it changes the run or something of it. A renewed Lease is the clock's doing, not the run's."""
        return self.verb not in ("get", "list", "watch") and (self.verb, self.resource) != ("update", "leases")

    @property
    def kind(self) -> str:
        """For people: what is done to which sort of object."""
        return f"{self.verb} {'/'.join(filter(None, (self.resource, self.subresource)))}"

    @classmethod
    def of(cls, method: str, url: URL) -> "Call | None":
        """From a request; None when it asks for no resource (discovery)."""
        match url.path.strip("/").split("/"):
            case ["api", _, *rest] if rest:
                group = ""
            case ["apis", group, _, *rest] if rest:
                pass
            case _:
                return None
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            _, namespace, *rest = rest
        resource, name, subresource, *_ = [*rest, "", ""]
        verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method)
        if verb is None:
            verb = "get" if name else "watch" if url.query.get("watch") in ("1", "true") else "list"
        return cls(verb, group, resource, subresource, namespace, name)


class Exchange:
    """One request on its way. A fault decides what becomes of it by calling these."""

    def __init__(self, proxy: "Proxy", request: web.BaseRequest, call: Call | None) -> None:
        self.call, self._proxy, self._request = call, proxy, request

    async def forward(self) -> web.StreamResponse:
        """Pass it on and stream the answer back."""
        async with await self._send() as upstream:
            answer = web.StreamResponse(status=upstream.status, headers=_headers(upstream.headers))
            # An operator that was killed takes no answer.
            with suppress(ConnectionResetError):
                await answer.prepare(self._request)
                async for chunk in self._proxy.chunks(upstream, watched=self.call is not None and self.call.verb == "watch"):
                    await answer.write(chunk)
                await answer.write_eof()
            return answer

    async def reach(self) -> bytes:
        """Let the API server do it, and keep its answer from the operator."""
        async with await self._send() as upstream:
            return await upstream.read()

    def refuse(self, status: int, reason: str, retry_after: int | None = None) -> web.StreamResponse:
        """Answer with an error in place of the API server."""
        body = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": reason,
                "message": f"made up: {reason}"}
        return web.json_response(body, status=status,
                                 headers={"Retry-After": str(retry_after)} if retry_after is not None else {})

    async def cut(self, first: bytes = b"") -> web.StreamResponse:
        """Close the connection, in the middle of an answer when there are first bytes of one."""
        if first:
            answer = web.StreamResponse(headers={"Content-Length": str(2 * len(first))})
            await answer.prepare(self._request)
            await answer.write(first)
        if self._request.transport is not None:
            self._request.transport.abort()
        return await self.never()

    async def never(self) -> web.StreamResponse:
        """Give no answer until the caller has lost patience."""
        await asyncio.Event().wait()
        raise AssertionError("the server cancels a request whose caller has gone")

    async def _send(self) -> aiohttp.ClientResponse:
        sending = asyncio.ensure_future(self._proxy.send(
            self._request.method, self._request.raw_path, dict(self._request.headers), await self._request.read()))
        # A write that has left the operator arrives, whatever becomes of the operator.
        return await (asyncio.shield(sending) if self.call is not None and self.call.write else sending)


Fault = Callable[[Exchange], Awaitable[web.StreamResponse]]
Chooser = Callable[[Call], Fault | None]
"""Which fault, if any, a call meets. Called for each call in the order of arrival, never by two threads at once."""


class Proxy:
    """One listening address. `calls` grows with every call; `choose` may be replaced at any time."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._open = asyncio.Event()
        self._expired = asyncio.Event()
        self._open.set()
        self.calls: list[Call] = []
        self.choose: Chooser = lambda _: None
        self.url = ""

    def writes(self) -> int:
        return sum(call.write for call in self.calls)

    def kubeconfig(self, file: Path) -> Path:
        """For an operator that goes through this proxy."""
        context = {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}
        file.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy", "contexts": [context],
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}], "users": [{"name": "proxy", "user": {}}]}))
        return file

    @contextmanager
    def gap(self) -> Iterator[None]:
        """Every watch ends with 410 and no read is answered until the block ends: what happens in it is told to nobody."""
        self._network.do(self._begin_gap())
        try:
            yield
        finally:
            self._network.do(self._end_gap())

    async def _begin_gap(self) -> None:
        self._open.clear()
        self._expired.set()

    async def _end_gap(self) -> None:
        self._expired = asyncio.Event()
        self._open.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call.of(request.method, request.rel_url)
        exchange = Exchange(self, request, call)
        if call is None:
            return await exchange.forward()
        self.calls.append(call)
        fault = self.choose(call)
        if not call.write:
            await self._open.wait()
        return await (fault(exchange) if fault else exchange.forward())

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> aiohttp.ClientResponse:
        kept = {key: value for key, value in headers.items() if key.lower() not in _PER_HOP}
        return await self._network.session.request(
            method, URL(self._network.server + path, encoded=True), headers=kept, data=body or None)

    async def chunks(self, upstream: aiohttp.ClientResponse, *, watched: bool) -> Any:
        """The answer's bytes as they come; a watch ends with 410 when a gap begins."""
        if not watched or upstream.status != 200:
            async for chunk in upstream.content.iter_any():
                yield chunk
            return
        expired = asyncio.ensure_future(self._expired.wait())
        try:
            while line := await _first(upstream.content.readline(), expired):
                yield line
            if expired.done():
                yield json.dumps(_GONE).encode() + b"\n"
        finally:
            expired.cancel()


async def _first(reading: Coroutine[Any, Any, bytes], expired: "asyncio.Future[Any]") -> bytes:
    """What was read, or nothing when the other came first."""
    line = asyncio.ensure_future(reading)
    try:
        await asyncio.wait({line, expired}, return_when=asyncio.FIRST_COMPLETED)
        return b"" if expired.done() else line.result()
    finally:
        line.cancel()


class Network:
    """Proxies of one API server in one thread. They speak for `user`, and plain HTTP to the operators on loopback."""

    def __init__(self, server: str, context: ssl.SSLContext) -> None:
        self.server, self._context = server, context
        self._loop = asyncio.new_event_loop()
        self._runners: dict[Proxy, web.ServerRunner] = {}
        self.session: aiohttp.ClientSession
        threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True).start()
        self.do(self._connect())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the proxies' thread."""
        started: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return started.result(30)

    def proxy(self) -> Proxy:
        """Another proxy, on a port of its own."""
        made = Proxy(self)
        self.do(self._listen(made))
        return made

    def drop(self, proxy: Proxy) -> None:
        """Listen no more for this one."""
        self.do(self._hang_up(proxy))

    def close(self) -> None:
        self.do(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _connect(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        self.session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None),
                                             auto_decompress=False, read_bufsize=2**22)

    async def _listen(self, proxy: Proxy) -> None:
        # A caller that has gone takes its watches with it.
        runner = web.ServerRunner(web.Server(proxy.handle, handler_cancellation=True, access_log=None),
                                  shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, LOOPBACK, 0)
        await site.start()
        self._runners[proxy] = runner
        proxy.url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"

    async def _hang_up(self, proxy: Proxy) -> None:
        await self._runners.pop(proxy).cleanup()

    async def _disconnect(self) -> None:
        for proxy in list(self._runners):
            await self._hang_up(proxy)
        await self.session.close()


def _headers(headers: Any) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in _PER_HOP}
