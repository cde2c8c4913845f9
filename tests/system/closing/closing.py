"""How the router's closes look to a client library and to a browser:

    closing.py aiohttp|firefox ROUTER CONTROL ADMIN_SOCKET CA_FILE URL

ROUTER is the daemon's process id, CONTROL the ws-routerctl program, CA_FILE the authority of the router's certificate.
Causes each close and compares the code that the other end reports; 1006 is what a connection without a complete closing
handshake is reported as. The last close is that of a stop, so the daemon has ended afterwards. A line per check: "ok", or
"FAIL", its name and the reason, with tabs between.
"""
import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

kind, router, control, socket, authority, url = sys.argv[1:]
trusted = ssl.create_default_context(cafile=authority) if url.startswith("https") else None
scheme = urllib.parse.urlsplit(url).scheme.replace("http", "ws")
# Members of each registration: every one of them has to see the code.
MEMBERS = 10
PATIENCE = 60


def check(name, condition, seen=""):
    print("ok\t" + name if condition else "FAIL\t%s\tsaw %r" % (name, str(seen)[:200]), flush=True)


def ask(path, **query):
    request = "%s/%s?%s" % (url, path, urllib.parse.urlencode(query))
    return urllib.request.urlopen(request, context=trusted, timeout=PATIENCE).read().decode()


def administer(*arguments):
    output = subprocess.run([control, "--json", "--socket", socket, *arguments], check=True, capture_output=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def disconnect(id):
    administer("disconnect", *(str(member["id"]) for member in administer("show", id)[0]["members"]))


# What makes the router close, by the code that it closes with; of those that keep the process alive.
CAUSES = {
    4000: lambda id: ask("remove", id=id, key="key", host_key="host"),
    4001: lambda id: administer("remove", id),
    4002: disconnect,
}


def restart(_):
    os.kill(int(router), signal.SIGUSR2)


def stop(_):
    os.kill(int(router), signal.SIGTERM)


def register():
    id = ask("register", key="key", host_key="host", reg_type="lobby")
    return id, "%s/connect?id=%s&key=key" % (url.replace("http", "ws", 1), id)


# aiohttp

# Masked frames: one with a reserved bit, and a text that isn't UTF-8.
BAD_FRAMES = {1002: b"\xf1\x80\0\0\0\0", 1007: b"\x81\x81\0\0\0\0\xff"}


async def closed(session, address, joined, complete, bad_frame):
    import aiohttp
    async with session.ws_connect(address, ssl=trusted) as member:
        joined.release()
        if bad_frame:
            # Before, the registration would end with the first ones.
            await complete.wait()
            member._response.connection.transport.write(bad_frame)
        while True:
            message = await member.receive(PATIENCE)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return member.close_code


async def each_code_by_aiohttp():
    import aiohttp
    async with aiohttp.ClientSession() as session:
        async def see(code, cause, bad_frame=None):
            id, address = await asyncio.to_thread(register)
            joined, complete = asyncio.Semaphore(0), asyncio.Event()
            members = [asyncio.ensure_future(closed(session, address, joined, complete, bad_frame)) for _ in range(MEMBERS)]
            for _ in members:
                await asyncio.wait_for(joined.acquire(), PATIENCE)
            complete.set()
            await asyncio.to_thread(cause, id)
            codes = await asyncio.gather(*members, return_exceptions=True)
            check("aiohttp %s, over %s: each member sees %d" % (aiohttp.__version__, scheme, code), codes == [code] * MEMBERS, codes)
        for code, frame in BAD_FRAMES.items():
            await see(code, lambda _: None, frame)
        for code, cause in CAUSES.items():
            await see(code, cause)
        if scheme == "wss":
            await see(1012, restart)
        await see(1001, stop)


# Firefox

PAGE = """<!doctype html><meta charset=utf-8><script>
const report = what => fetch("/report", {method: "POST", body: JSON.stringify(what)});
const join = (name, url) => {
  const socket = new WebSocket(url);
  let opened = false;
  socket.onopen = () => { opened = true; report({name, event: "open"}); };
  socket.onclose = ({code, wasClean}) => report({name, event: "close", code, wasClean, opened});
};
(async () => {
  for (let members; members = await (await fetch("/next")).json(); ) for (const [name, url] of members) join(name, url);
  report({event: "done"});
})();
</script>"""


async def each_code_by_firefox():
    wanted, reports = asyncio.Queue(), asyncio.Queue()

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
        path = head.split(" ")[1]
        body = PAGE
        if path == "/report":
            await reports.put(json.loads(await reader.readexactly(length)))
            body = ""
        elif path == "/next":
            body = json.dumps(await wanted.get())
        content = body.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
        await writer.drain()
        writer.close()

    pages = await asyncio.start_server(serve, "127.0.0.1", 0)
    profile = tempfile.mkdtemp(prefix="firefox.")
    subprocess.run(["certutil", "-N", "--empty-password", "-d", "sql:" + profile], check=True)
    subprocess.run(["certutil", "-A", "-n", "relay", "-t", "C,,", "-i", authority, "-d", "sql:" + profile], check=True)
    with open(profile + "/user.js", "w") as settings:
        # It fetches nothing from anywhere else.
        for name in ("app.update.enabled", "datareporting.policy.dataSubmissionEnabled", "network.captive-portal-service.enabled",
                     "network.connectivity-service.enabled", "browser.safebrowsing.malware.enabled"):
            settings.write('user_pref("%s", false);\n' % name)
        settings.write('user_pref("network.proxy.type", 0);\n')
    firefox = await asyncio.create_subprocess_exec(
        "firefox-esr", "--headless", "--no-remote", "--profile", profile,
        "http://127.0.0.1:%d/" % pages.sockets[0].getsockname()[1],
        env=dict(os.environ, HOME=profile, MOZ_CRASHREPORTER_DISABLE="1"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def see(code, cause):
        id, address = await asyncio.to_thread(register)
        await wanted.put([["%d" % code, address]] * MEMBERS)
        seen = []
        while len(seen) < MEMBERS:
            seen.append(await asyncio.wait_for(reports.get(), PATIENCE))
        if [report["event"] for report in seen] == ["open"] * MEMBERS:
            seen = []
            await asyncio.to_thread(cause, id)
            while len(seen) < MEMBERS:
                seen.append(await asyncio.wait_for(reports.get(), PATIENCE))
        ends = [(report.get("code"), report.get("wasClean")) for report in seen]
        check("Firefox, over %s: each member sees %d, and a clean close" % (scheme, code), ends == [(code, True)] * MEMBERS, ends)

    try:
        for code, cause in CAUSES.items():
            await see(code, cause)
        if scheme == "wss":
            await see(1012, restart)
        await see(1001, stop)
        await wanted.put(None)
        await asyncio.wait_for(reports.get(), PATIENCE)
    finally:
        firefox.terminate()
        await firefox.wait()
        shutil.rmtree(profile, ignore_errors=True)


asyncio.run(each_code_by_aiohttp() if kind == "aiohttp" else each_code_by_firefox())
