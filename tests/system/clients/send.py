"""POST /send by curl and wget, and by a webhook that is delivered again: send.py URL

The router's send-timeout (http.request-timeout) is short, http.max-send 256 KiB. A line per check, as of
webdriver.check.
"""
import asyncio
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import websockets

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) for folder in ("..", "../browser")]
from manual import example  # noqa: E402
from webdriver import check  # noqa: E402

url = sys.argv[1]
PATIENCE = 30


def register(**terms):
    terms = dict({"key": "abc", "host_key": "h"}, **terms)
    request = urllib.request.Request(url + "/register", urllib.parse.urlencode(terms).encode())
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


def join(id, role="host", **options):
    return websockets.connect("%s/connect?id=%s&key=abc&sock_type=%s" % (url.replace("http", "ws", 1), id, role),
                              max_size=None, **options)


def address(id, **parameters):
    return "%s/send?%s" % (url, urllib.parse.urlencode(dict(id=id, **parameters)))


async def run(*command):
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
    return process.returncode, output.decode(), errors.decode()


async def received(member):
    return await asyncio.wait_for(member.recv(), PATIENCE)


async def manual(folder):
    """The manual's commands as they stand, and what they print there."""
    id = register(reg_type="hostclient", client_key="c")
    room = register(reg_type="lobby", id_req="living-room")
    photo = os.urandom(200_000)
    with open(os.path.join(folder, "photo.jpg"), "wb") as file:
        file.write(photo)
    lines = example("ws-router-protocol.7", "photo.jpg").replace("\\\n", "").replace("id=ID", "id=" + id)
    lines = lines.replace("https://router.example", url).splitlines()
    async with contextlib.AsyncExitStack() as stack:
        host = await stack.enter_async_context(join(id))
        clients = [await stack.enter_async_context(join(id, "client")) for _ in range(2)]
        peers = [await stack.enter_async_context(join(room)) for _ in range(3)]
        expected = [([host], "on"), (clients, photo), (peers, '{"temperature":21.5}')]
        for command, printed, (members, message) in zip(lines[::2], lines[1::2], expected, strict=True):
            words = shlex.split(command.removeprefix("$ "))
            process = await asyncio.create_subprocess_exec(*words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            got = [await received(member) for member in members]
            check("the manual's %s: %s" % (words[0], printed), output.decode().strip() == printed and got == [message] * len(got),
                  (output, [str(m)[:40] for m in got]))


async def kinds(folder):
    """What arrives, by what was sent."""
    id = register(reg_type="hostclient", client_key="c")
    to = address(id, client_key="c")
    raw = os.urandom(256 * 1024)
    path = os.path.join(folder, "raw")
    with open(path, "wb") as file:
        file.write(raw)
    rows = [
        ("curl's form is text", ["curl", "-sSd", "grüße 👋", to], "grüße 👋"),
        ("an empty text", ["curl", "-sSd", "", to], ""),
        ("JSON by curl is text", ["curl", "-sS", "--json", '{"a":[1,2]}', to], '{"a":[1,2]}'),
        ("curl's binary of the largest size", ["curl", "-sSH", "Content-Type: application/octet-stream", "--data-binary", "@" + path, to], raw),
        ("curl without a type is binary", ["curl", "-sSH", "Content-Type:", "-d", "abc", to], b"abc"),
        ("curl in pieces, of a length that it doesn't say", ["curl", "-sSH", "Transfer-Encoding: chunked", "-H", "Content-Type: image/png", "--data-binary", "@" + path, to], raw),
        ("curl that asks first (100-continue)", ["curl", "-sSH", "Expect: 100-continue", "-d", "may I?", to], "may I?"),
        ("wget's form is text", ["wget", "-qO-", "--post-data", "grüße 👋", to], "grüße 👋"),
        ("a file by wget", ["wget", "-qO-", "--header", "Content-Type: image/png", "--post-file", path, to], raw),
    ]
    async with join(id) as host:
        for name, command, expected in rows:
            status, output, errors = await run(*command)
            got = await received(host)
            check("%s arrives" % name, (status, output, got) == (0, '{"receivers":1}', expected), (status, output, errors, got[:40]))


async def errors(folder):
    """The answers that say what to fix, as curl and wget report them."""
    id = register(reg_type="hostclient", client_key="c", receive_key="r")
    paired = register(reg_type="paired")
    path = os.path.join(folder, "large")
    with open(path, "wb") as file:
        file.write(b"x" * 2_000_000)
    nothing = await run("curl", "-sSD-", "-d", "x", address(id, client_key="c"))
    retry = re.search(r"(?im)^retry-after: (\d+)", nothing[1])
    check("503 if nobody is there, with Retry-After", " 503 " in nothing[1].splitlines()[0] and retry, nothing[1])
    async with join(id) as host:
        for name, status, options in [
            ("a text that is not UTF-8", 400, ["--data-binary", "@/bin/true", address(id, client_key="c")]),
            ("no role", 400, ["-d", "x", address(id, key="abc")]),
            ("two keys", 400, ["-d", "x", address(id, key="abc", client_key="c")]),
            ("a paired registration", 400, ["-d", "x", address(paired, key="abc")]),
            ("a wrong key", 403, ["-d", "x", address(id, client_key="wrong")]),
            ("a key that only receives", 403, ["-d", "x", address(id, receive_key="r", sock_type="client")]),
            ("an unknown id", 404, ["-d", "x", address("0" * 32, client_key="c")]),
            ("GET", 405, [address(id, client_key="c")]),
        ]:
            code, output, said = await run("curl", "-sSw", "\n%{http_code}", *options)
            text, _, got = output.rpartition("\n")
            check("curl reads %d for %s, and one line" % (status, name),
                  code == 0 and got == str(status) and len(text.strip().splitlines()) == 1, (code, output, said))
        code, output, said = await run("curl", "-sSw", "%{http_code} %{size_upload}", "-o", "/dev/null", "-H", "Content-Type: image/png",
                                       "-H", "Expect: 100-continue", "--data-binary", "@" + path, address(id, client_key="c"))
        check("413 for a large file, which curl then doesn't upload", output == "413 0", (code, output, said))
        code, output, said = await run("wget", "-qO-", "-S", "--content-on-error", "--post-data", "x", address(id, client_key="wrong"))
        check("wget reads 403 and exits with 8", code == 8 and " 403 " in said and len(output.strip().splitlines()) == 1, (code, output, said))
        await run("curl", "-sSd", "last", address(id, client_key="c"))
        got = await received(host)
        check("none of these was delivered", got == "last", got)


async def programs_repeat():
    """curl and wget repeat by themselves until somebody is there."""
    for name, command in [("curl", ["curl", "-sSf", "--retry", "20", "--retry-delay", "1", "-d", "event"]),
                          ("wget", ["wget", "-qO-", "--tries=20", "--waitretry=1", "--retry-on-http-error=503", "--post-data=event"])]:
        id = register(reg_type="hostclient", client_key="c")
        sender = asyncio.ensure_future(run(*command, address(id, client_key="c")))
        await refused(id)
        async with join(id) as host:
            got = await received(host)
            outcome = await sender
            check("%s repeats after 503, until a host is there" % name, (got, outcome[0], outcome[1]) == ("event", 0, '{"receivers":1}'),
                  (got, outcome))
            await run("curl", "-sSd", "end", address(id, client_key="c"))
            got = await received(host)
            check("and it arrives once", got == "end", got)


async def refused(_):
    """Waits until the router has refused one more message, since nobody was there."""
    before = nobody_there()
    while nobody_there() == before:
        await asyncio.sleep(0.05)


def nobody_there():
    with urllib.request.urlopen(sys.argv[2] + "/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith("wsrouter_requests_refused_total") and 'reason="no-receiver"' in line)


class Webhook:
    """A service that calls an address with each event, one after the other, and again until it is accepted."""

    def __init__(self, target, timeout):
        self.target, self.timeout, self.outcomes = target, timeout, []

    def deliver(self, number, pad):
        event = json.dumps({"event": number, "pad": pad})
        while True:
            request = urllib.request.Request(self.target, event.encode(), {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    self.outcomes.append(answer.status)
                    return
            except urllib.error.HTTPError as refusal:
                self.outcomes.append(refusal.code)
            except (TimeoutError, urllib.error.URLError):
                self.outcomes.append("timeout")
            time.sleep(0.2)


async def webhook():
    """The receiver is away, and later doesn't read for a while."""
    id = register(reg_type="hostclient", client_key="c")
    hook = Webhook(address(id, client_key="c"), timeout=1)
    pad = "x" * 200_000

    first = asyncio.ensure_future(asyncio.to_thread(hook.deliver, 0, ""))
    await refused(id)
    async with join(id, max_queue=1) as host:
        got = json.loads(await received(host))
        await first
        check("a webhook is delivered again after 503", got["event"] == 0 and 503 in hook.outcomes and hook.outcomes[-1] == 200, hook.outcomes)

        # The host's program reads no more: what is under way fills the buffers, then the answer waits, and the
        # service gives up and repeats.
        hook.outcomes.clear()
        count = 200
        deliveries = asyncio.ensure_future(asyncio.to_thread(lambda: [hook.deliver(number, pad) for number in range(1, count + 1)]))
        while "timeout" not in hook.outcomes:
            await asyncio.sleep(0.05)
        seen, repeated = [], 0
        while len(seen) < count:
            number = json.loads(await received(host))["event"]
            if seen and number == seen[-1]:
                repeated += 1
            else:
                seen.append(number)
        await deliveries
        check("a host that reads late receives each of %d events, in order" % count, seen == list(range(1, count + 1)), seen[:20])
        # A message whose sender gave up may have been sent all the same.
        given_up = hook.outcomes.count("timeout")
        check("and none more often again than the service gave up", repeated <= given_up, (repeated, given_up))


async def main():
    with tempfile.TemporaryDirectory() as folder:
        await manual(folder)
        await kinds(folder)
        await errors(folder)
    await programs_repeat()
    await webhook()


try:
    asyncio.run(main())
except Exception as error:
    check("the senders get to the end", False, "%s: %s" % (type(error).__name__, error))
