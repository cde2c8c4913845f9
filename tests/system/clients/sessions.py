"""Devices with sessions lose their network, and no message: sessions.py WEBSOCAT CONTROL ADMIN_SOCKET ROUTER MIDDLE

Runs in the devices' network namespace. ROUTER and MIDDLE are processes in the router's namespace, where the other
members are, and in the one between, which forwards packets. A line per check, as of webdriver.check.
"""
import asyncio
import contextlib
import json
import os
import secrets
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import websockets

from sequence import END, Sequence, message

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(FOLDER, folder) for folder in ("..", "../browser")]
from manual import example  # noqa: E402
from webdriver import Browser, check, serve_pages  # noqa: E402

websocat, control, admin, router, middle = sys.argv[1:]
PLAIN, SECURE = "http://192.0.2.1:8741", "https://192.0.2.1:8742"
PATIENCE = 60
# Seconds without the network: longer than until the router has given the device up (ping-interval and pong-timeout).
OUTAGE = 8
PACE = 0.004
TRUST = ssl.create_default_context()
TRUST.check_hostname, TRUST.verify_mode = False, ssl.CERT_NONE


def within(process, *command):
    return subprocess.run(["nsenter", "--net=/proc/%s/ns/net" % process, *command], check=True, capture_output=True)


class Line:
    """What is between the devices and the router."""
    addresses = ["198.51.100.2", "198.51.100.3"]

    @staticmethod
    def forwards(whether):
        within(middle, "sysctl", "-qw", "net.ipv4.ip_forward=%d" % whether)

    @staticmethod
    def kill(*of):
        subprocess.run(["ss", "-K", "dst", "192.0.2.1", *of], check=True, capture_output=True)

    @classmethod
    def move(cls):
        """The device has another address, and its system ends the old one's connections, as those of phones do."""
        old, new = cls.addresses
        for change in (["del", old + "/24"], ["add", new + "/24"]):
            subprocess.run(["ip", "addr", *change, "dev", "device"], check=True)
        subprocess.run(["ip", "route", "replace", "default", "via", "198.51.100.254"], check=True)
        cls.kill("src", old)
        cls.addresses.reverse()


def ask(path, form, base=PLAIN, timeout=2):
    data = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(base + path, data, timeout=timeout, context=TRUST) as answer:
        return answer.read().decode()


async def until(what, condition):
    """Waits for a condition, and raises if it doesn't come about."""
    end = time.monotonic() + PATIENCE
    while True:
        got = condition()
        if asyncio.iscoroutine(got):
            got = await got
        if got:
            return
        if time.monotonic() > end:
            raise RuntimeError("%s: not within %d s" % (what, PATIENCE))
        await asyncio.sleep(0.05)


class Peer:
    """The member at the other end, in the router's own network."""

    def __init__(self, id, parameters, *options):
        self.process = subprocess.Popen(
            ["nsenter", "--net=/proc/%s/ns/net" % router, sys.executable, os.path.join(FOLDER, "peer.py"),
             PLAIN.replace("http", "ws", 1), id, parameters, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().strip()

    async def end(self):
        """Has it say the end, and returns what it has received."""
        self.process.stdin.close()
        line = asyncio.to_thread(self.process.stdout.readline)
        with contextlib.suppress(TimeoutError):
            return json.loads(await asyncio.wait_for(line, PATIENCE))
        return {"wrong": "the end was not heard"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class PythonDevice:
    """Python's websockets; what it says is computed, so nothing needs to be kept."""
    name = "Python"

    def __init__(self, base, member):
        self.base, self.member = base, dict(member, session=secrets.token_hex(16))
        self.heard, self.resumed, self.close, self.said, self.arrived = Sequence(), 0, None, 0, 0
        self.saying = asyncio.Event()

    async def start(self):
        self.task = asyncio.ensure_future(self.live())
        await until("the first message", lambda: self.heard.count or self.task.done())

    async def times_resumed(self):
        return self.resumed

    async def live(self):
        resume = {}
        while not await self.connection(resume):
            answer = await self.state()
            self.arrived, resume = answer["received"], {"received": self.heard.count}

    async def state(self):
        while True:
            try:
                return json.loads(await asyncio.to_thread(ask, "/session", self.member, self.base))
            except urllib.error.HTTPError:
                raise
            except OSError:
                await asyncio.sleep(0.1)

    async def connection(self, resume):
        """Returns whether that was the last one."""
        address = "%s/connect?%s" % (self.base.replace("http", "ws", 1), urllib.parse.urlencode({**self.member, **resume}))
        try:
            async with websockets.connect(address, ssl=TRUST if self.base == SECURE else None, open_timeout=2, close_timeout=2,
                                          ping_interval=None, max_size=None, compression=None) as socket:
                self.resumed += bool(resume)
                sayer = asyncio.ensure_future(self.say(socket))
                try:
                    while not self.heard.ended:
                        async with asyncio.timeout(3):
                            self.heard.take(await socket.recv())
                    await sayer
                    return True
                except TimeoutError:
                    # Nothing is heard: no network. A Close would end the session, should it arrive.
                    socket.transport.abort()
                finally:
                    sayer.cancel()
                    await asyncio.gather(sayer, return_exceptions=True)
        except websockets.ConnectionClosed as closed:
            code = closed.rcvd and closed.rcvd.code
            if code not in (None, 1012, 4004):
                self.close = str(closed)
                return True
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass
        return False

    async def say(self, socket):
        number = self.arrived
        while number < self.said or not self.heard.ended:
            await socket.send(message(number))
            number += 1
            if number > self.said:
                self.said = number
                await asyncio.sleep(PACE)
        await socket.send(END)

    async def end(self):
        await asyncio.wait_for(self.task, PATIENCE)
        return dict(self.heard.outcome(), said=self.said, close=self.close)


class Page:
    """The manual's example in Chromium."""
    name = "Chromium"
    DRIVER = """
        const text = number => `${number}:` + "x".repeat(number * 37 % 3000);
        window.device = {count: 0, wrong: null, ended: false, said: 0, resumed: -1, close: null};
        console.log = (...words) => device.close = words.join(" ");
        const hear = data => {
          if (data === "end") device.ended = true;
          else if (data === text(device.count) && !device.ended) device.count += 1;
          else device.wrong ??= `${data.slice(0, 20)} instead of ${device.count}`;
        };
        const Real = WebSocket;
        window.WebSocket = class extends Real {
          constructor(url) { super(url); this.addEventListener("open", () => device.resumed += 1); }
        };
        const timer = setInterval(() => {
          if (device.ended) { clearInterval(timer); say("end"); } else say(text(device.said++));
        }, 4);
        """

    def __init__(self, base, member):
        parts = urllib.parse.urlencode(member)
        self.code = example("ws-router-protocol.7", "comeBack()").replace("wss://router.example", base.replace("http", "ws", 1))
        self.code = self.code.replace("id=living-room&key=k&sock_type=client", parts)
        self.stack = contextlib.ExitStack()

    async def start(self):
        self.window = self.stack.enter_context(Browser()).first_window()
        self.window.open(serve_pages() + "/page.html")
        self.window.run("const code = document.createElement('script'); code.type = 'module'; code.text = args[0];"
                        "document.head.append(code);", self.DRIVER + self.code)
        await until("the first message", lambda: self.state()["count"])

    def state(self):
        return self.window.run("return window.device ?? {count: 0};")

    async def times_resumed(self):
        return self.state()["resumed"]

    async def end(self):
        await until("the page's end", lambda: self.state()["ended"])
        return self.state()

    def close(self):
        self.stack.close()


class Websocat:
    """A shell script around websocat and curl."""
    name = "websocat"

    def __init__(self, base, member):
        self.folder = tempfile.TemporaryDirectory()
        self.said, self.stop = 0, asyncio.Event()
        for name in ("said", "heard", "resumed"):
            open(self.path(name), "w").close()
        self.process = subprocess.Popen(
            [os.path.join(FOLDER, "websocat-session"), websocat, base, urllib.parse.urlencode(member), secrets.token_hex(16),
             self.folder.name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def lines(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read().splitlines()

    async def start(self):
        self.task = asyncio.ensure_future(self.say())
        await until("the first message", lambda: self.lines("heard"))

    async def say(self):
        with open(self.path("said"), "a", buffering=1, encoding="utf-8") as file:
            while not self.stop.is_set():
                file.write(message(self.said) + "\n")
                self.said += 1
                await asyncio.sleep(PACE)
            file.write(END + "\n")

    async def times_resumed(self):
        return len(self.lines("resumed"))

    async def end(self):
        await until("websocat's end", lambda: self.process.poll() is not None or self.lines("heard")[-1:] == [END])
        self.stop.set()
        await self.task
        heard = Sequence()
        for line in self.lines("heard"):
            heard.take(line)
        return dict(heard.outcome(), said=self.said, close=None if self.process.poll() is None else self.process.stdout.read())

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.folder.cleanup()


def killed():
    Line.kill()


async def outage():
    Line.forwards(False)
    await asyncio.sleep(OUTAGE)
    Line.forwards(True)


def ghost():
    """The device is gone without a word, and back at once: to the router its old connection is alive."""
    Line.forwards(False)
    Line.kill()
    Line.forwards(True)


def upgrade():
    subprocess.run([control, "--socket", admin, "upgrade"], check=True, capture_output=True, timeout=PATIENCE)


LOSSES = [("its connection is killed", killed, 3), ("packets are dropped for %d s" % OUTAGE, outage, 1),
          ("its address changes", Line.move, 2), ("it vanishes and returns at once", ghost, 3)]
RESTART = ("the router restarts", upgrade, 3)


def given_up():
    """How many connections the router has closed because it missed the member's pong."""
    metrics = subprocess.run(["curl", "-sf", "--unix-socket", admin, "http://admin/metrics"], check=True, capture_output=True, text=True)
    return [line.split()[-1] for line in metrics.stdout.splitlines() if line.startswith('wsrouter_closes_total{reason="no-pong"}')]


async def compare(device, peer, rows, label):
    """Loses the device's network in each way, and compares what both ends have said with what they have heard."""
    try:
        await device.start()
        for name, lose, times in rows:
            longest, missed = 0, given_up()
            for _ in range(times):
                before, started = await device.times_resumed(), time.monotonic()
                lost = lose()
                if asyncio.iscoroutine(lost):
                    await lost
                    started = time.monotonic()
                async def resumed():
                    if getattr(device, "task", None) and device.task.done():
                        device.task.result()
                    return await device.times_resumed() > before
                await until(name, resumed)
                longest = max(longest, time.monotonic() - started)
            check("%s: it resumes when %s" % (label, name), True)
            if lose is ghost:
                check("%s: before the router has missed it" % label, missed and given_up() == missed, (missed, given_up()))
            print("note\t%s: %s: back after at most %.1f s" % (label, name, longest), flush=True)
        heard_by_peer, heard = await asyncio.gather(peer.end(), device.end())
        for way, said, got in [("to the device", heard_by_peer.get("said"), heard), ("from the device", heard["said"], heard_by_peer)]:
            check("%s: every message %s arrives once and in order" % (label, way),
                  got.get("wrong") is None and got.get("ended") and got["count"] == said, (said, heard, heard_by_peer))
    finally:
        Line.forwards(True)
        if hasattr(device, "close") and callable(device.close):
            device.close()


def register(**terms):
    return ask("/register", dict({"key": "k", "host_key": "h"}, **terms), timeout=PATIENCE)


async def hostclient(device, base, rows, label):
    # Full, so that a device that comes back needs its own seat.
    id = register(reg_type="hostclient", client_key="c", max_members=2)
    member = {"id": id, "client_key": "c", "sock_type": "client"}
    with Peer(id, "key=k&sock_type=host") as peer:
        await compare(device(base, member), peer, rows, "%s, %s" % (device.name, label))


async def paired_client(base, rows, label):
    id = register(reg_type="paired", client_key="c")
    with Peer(id, "key=k&sock_type=host", "--listen") as peer:
        await compare(PythonDevice(base, {"id": id, "client_key": "c", "sock_type": "client"}), peer, rows, label)


async def paired_host(base, rows, label):
    id = register(reg_type="paired", client_key="c")
    async with websockets.connect("%s/connect?id=%s&key=k&sock_type=host" % (PLAIN.replace("http", "ws", 1), id)) as listening:
        with Peer(id, "client_key=c&sock_type=client") as peer:
            number = json.loads(await listening.recv())["incoming"]
            await compare(PythonDevice(base, {"id": id, "accept": number}), peer, rows, label)


async def strangers():
    """Nobody resumes another one's session, and a gap is never silent."""
    id = register(reg_type="lobby", receive_key="r")
    member, secret = {"id": id, "key": "k"}, secrets.token_hex(16)

    def address(**parameters):
        return "%s/connect?%s" % (PLAIN.replace("http", "ws", 1), urllib.parse.urlencode({**member, **parameters}))

    async def closed(**parameters):
        async with websockets.connect(address(**parameters)) as socket:
            try:
                await asyncio.wait_for(socket.recv(), PATIENCE)
            except websockets.ConnectionClosed as close:
                return close.rcvd and close.rcvd.code

    def status(form):
        try:
            return ask("/session", form)
        except urllib.error.HTTPError as refusal:
            return refusal.code

    async with websockets.connect(address(session=secret)) as owner, websockets.connect(address()) as other:
        await other.send("hello")
        await owner.recv()
        got = status(dict(member, session=secrets.token_hex(16)))
        check("a stolen key reveals nothing of a session without its secret", isinstance(got, int) and 400 <= got < 500, got)
        got = await closed(session=secrets.token_hex(16), received=0)
        check("and resumes nothing: 4009", got == 4009, got)
        got = status({"id": id, "receive_key": "r", "session": secret})
        check("the secret with another key: 403", got == 403, got)
        got = await closed(session=secret, received=5)
        check("more received than was sent: 4009", got == 4009, got)
        async with websockets.connect(address(session=secret)) as anew:
            await other.send("again")
            got = await asyncio.wait_for(anew.recv(), PATIENCE)
            check("without received, the session begins anew", got == "again", got)


async def main():
    everything = [*LOSSES, RESTART]
    await hostclient(PythonDevice, PLAIN, LOSSES, "ws")
    await hostclient(PythonDevice, SECURE, everything, "wss")
    await paired_client(PLAIN, LOSSES, "Python, client of a pair")
    await paired_host(SECURE, everything, "Python, accepted end of a pair, wss")
    await hostclient(Websocat, PLAIN, LOSSES, "ws")
    await hostclient(Page, SECURE, everything, "wss")
    await strangers()


try:
    asyncio.run(main())
except Exception as error:
    check("the devices get to the end", False, "%s: %s" % (type(error).__name__, error))
