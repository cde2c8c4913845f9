"""The protocol manual's two pages in Chromium as they stand, and other programs that call the same host:

    paired.py WEBSOCAT CONTROL ADMIN_SOCKET HTTP_URL HTTPS_URL

The router has an accept-timeout of some seconds, and a linger. A line per check, as of webdriver.check.
"""
import asyncio
import json
import os
import subprocess
import sys

import websockets

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) for folder in ("..", "../browser")]
from manual import example  # noqa: E402
from webdriver import Browser, check, serve_pages  # noqa: E402

websocat, control, admin, plain, secure = sys.argv[1:]
PATIENCE = 30
CALLERS = 10

# What the page says is kept.
LISTEN = "window.said = []; console.log = (...words) => said.push(words.join(' ').trim());"
SAID = """
for (const end = Date.now() + 15000; said.length < args[0] && Date.now() < end;) await new Promise(go => setTimeout(go, 20));
return said.splice(0);"""


def code(words):
    return example("ws-router-protocol.7", words).replace("wss://router.example", secure.replace("http", "ws", 1))


def address(id, name):
    return "%s/connect?id=%s&client_key=c&sock_type=client&hello=%s" % (plain.replace("http", "ws", 1), id, name)


def host_again(id):
    """Closes the connection with which the host listens."""
    shown = subprocess.run([control, "--json", "--socket", admin, "show", id], check=True, capture_output=True).stdout
    members = [member for member in json.loads(shown)["members"] if member["pairing"] == "listening"]
    subprocess.run([control, "--socket", admin, "disconnect", *(str(member["id"]) for member in members)],
                   check=True, capture_output=True)
    return len(members)


async def ask(call, text, name):
    await call.send(text)
    async with asyncio.timeout(PATIENCE):
        return await call.recv() == "%s, you said: %s" % (name, text)


async def by_python(id):
    name = "websockets " + websockets.__version__
    async with websockets.connect(address(id, "Grace"), max_size=None) as call:
        texts = ["", "grüße 👋", "x" * 1_000_000] + [str(number) for number in range(100)]
        answers = [await ask(call, text, "Grace") for text in texts]
        check("Python's %s calls the page: each text is answered" % name, all(answers), answers)

        calls = [websockets.connect(address(id, "caller%d" % number)) for number in range(CALLERS)]
        calls = await asyncio.gather(*calls)
        answers = await asyncio.gather(*(ask(other, "hello %d" % number, "caller%d" % number)
                                         for number, other in enumerate(calls)))
        await asyncio.gather(*(other.close() for other in calls))
        check("%d at once: each hears what is said to it" % CALLERS, all(answers), answers)

        disconnected = await asyncio.to_thread(host_again, id)
        goes_on = await ask(call, "still there?", "Grace")
        check("a pair goes on while the host listens no more", disconnected == 1 and goes_on, (disconnected, goes_on))
        async with websockets.connect(address(id, "Joan")) as other:
            check("the page listens again by itself, and a new caller is answered", await ask(other, "hello", "Joan"))

    try:
        async with websockets.connect(address(id, "").replace("&hello=", "")) as call, asyncio.timeout(PATIENCE):
            await call.recv()
    except websockets.ConnectionClosed as closed:
        seen = closed.rcvd and (closed.rcvd.code, closed.rcvd.reason)
        check("a rejection is read with its code and reason", seen == (3000, "say who you are"), seen)


def by_websocat(id):
    # One message each way; without the first option it would leave when its input has ended.
    run = subprocess.run([websocat, "--no-close", "--one-message", address(id, "Linus")], input=b"hello\n",
                         capture_output=True, timeout=PATIENCE)
    check("websocat calls the page, and is answered", run.stdout == b"Linus, you said: hello\n", (run.stdout, run.stderr))


async def main():
    pages = serve_pages()
    with Browser() as browser:
        host, client = browser.first_window(), browser.new_window()
        for page in (host, client):
            page.open(pages + "/page.html")
        id = host.run(LISTEN + code("incoming") + "return id;")
        call = LISTEN + "const id = args[0];" + code("hello=Ada")
        client.run(call, id)
        said = client.run(SAID, 1)
        check("a page calls another one by the manual's example", said == ["Ada, you said: hello"], said)
        said = host.run(SAID, 1)
        check("the host reads the code and reason with which it left", said == ["Ada left 4500 thank you"], said)
        client.run(call.replace("&hello=Ada", ""), id)
        said = client.run(SAID, 1)
        check("the host rejects a page, which reads why", said == ["rejected: say who you are"], said)

        await by_python(id)
        by_websocat(id)

        host.open("about:blank")
        client.run(call, id)
        said = client.run(SAID, 1)
        check("a page learns that nobody answers", said == ["nobody answers"], said)


try:
    asyncio.run(main())
except Exception as error:
    check("the callers get to the end", False, "%s: %s" % (type(error).__name__, error))
