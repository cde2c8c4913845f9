"""The router under test as a client sees it, and a lobby with an echo peer that stays in it."""
import asyncio
import re
import secrets
import urllib.parse
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException


class Router:
    def __init__(self, base):
        self.base = base.rstrip("/")
        self.ws_base = re.sub("^http", "ws", self.base)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def get(self, path, **query):
        url = "%s/%s?%s" % (self.base, path, urllib.parse.urlencode(query))

        def fetch():
            with self.opener.open(url, timeout=20) as answer:
                return answer.read().decode()
        return await asyncio.to_thread(fetch)


class Lobby:
    """A registration with an echo peer. Whatever happens to the echo peer against its will is noted in `disturbances`:
    the fuzzer's misbehaviour must never reach the other members of its lobby."""

    def __init__(self, router):
        self.router = router
        self.key, self.host_key = secrets.token_hex(8), secrets.token_hex(8)
        self.id = self.ws = self.task = None
        self.leaving, self.disturbances = False, []

    async def open(self):
        self.id = await self.router.get("register", key=self.key, host_key=self.host_key, reg_type="lobby")
        if not re.fullmatch("[0-9a-f]{32}", self.id):
            raise RuntimeError("an id that isn't 32 hex digits: %r" % self.id[:200])
        self.ws = await connect(self.url(), proxy=None, max_size=None, max_queue=None, ping_interval=None,
                                open_timeout=20, close_timeout=5, compression=None)
        self.task = asyncio.create_task(self.echo())

    def url(self):
        return "%s/connect?%s" % (self.router.ws_base, urllib.parse.urlencode({"id": self.id, "key": self.key}))

    async def echo(self):
        """Reads and writes apart, so that the peer goes on reading while it can't write."""
        box = asyncio.Queue()

        async def send():
            while True:
                await self.ws.send(await box.get())  # str goes out as text, bytes as binary
        sender = asyncio.create_task(send())
        try:
            async for message in self.ws:
                box.put_nowait(message)
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        if not self.leaving:
            self.disturbances.append(self.what_happened())

    def what_happened(self):
        received, sent = self.ws.protocol.close_rcvd, self.ws.protocol.close_sent
        if received is not None:
            return "closed by the router with %s" % received.code
        if sent is not None:
            return "the router sent it something invalid (%s %s)" % (sent.code, sent.reason)
        return "dropped by the router without a close"

    async def close(self):
        """Checks that the echo peer is still there and answered, and leaves."""
        try:
            await asyncio.wait_for(await self.ws.ping(), 10)
        except ConnectionClosed:
            pass  # echo() notes it
        except asyncio.TimeoutError:
            self.disturbances.append("its ping wasn't answered within 10 s")
        if not self.task.done():
            self.leaving = True
        try:
            await self.ws.close()
            await asyncio.wait_for(self.task, 10)
        except (OSError, WebSocketException, asyncio.TimeoutError) as e:
            self.disturbances.append("it couldn't leave: %r" % e)
