"""Two pages in one headless Chromium talk through the router: two_pages.py HTTP_URL HTTPS_URL

The pages come from a server of their own, so that to the router they are of another origin. A line per check:
"ok", or "FAIL", its name and the reason, with tabs between.
"""
import json
import sys
import urllib.parse

from webdriver import Browser, check, serve_pages

FETCH = "const answer = await fetch(args[0]); return [answer.status, await answer.text()];"
POST = """
const answer = await fetch(args[0], {method: "POST", body: new URLSearchParams(args[1])});
return [answer.status, await answer.text()];"""
JOIN = "return await join(args[0]);"
SEND = "socket.send(typeof args[0] === 'string' ? args[0] : new Uint8Array(args[0])); return true;"
NEXT = "return await next();"
WATCH = """
window.states = [];
const events = new EventSource(args[0]);
events.onmessage = ({data}) => states.push(JSON.parse(data));
events.addEventListener("end", ({data}) => { events.close(); states.push(JSON.parse(data)); });
await new Promise(resolve => events.onopen = resolve);
return true;"""
STATES = """
const end = Date.now() + 10000;
while (JSON.stringify(states.at(-1)) !== args[0] && Date.now() < end) await new Promise(wait => setTimeout(wait, 20));
return states.at(-1);"""


def through(base, one, other):
    """All checks against one listener."""
    scheme = "wss" if base.startswith("https") else "ws"
    keys = {"key": "pass+word & more", "host_key": "höst"}

    def url(path, **query):
        return "%s/%s?%s" % (base, path, urllib.parse.urlencode(query))

    status, id = one.run(FETCH, url("register", reg_type="lobby", **keys))
    check("%s: fetch() of another origin registers" % scheme, status == 200 and len(id) == 32, (status, id))
    status, again = other.run(POST, base + "/register", dict(keys, reg_type="lobby", id_req=id))
    check("%s: a POST form with the same keys gives the same id" % scheme, (status, again) == (200, id), (status, again))

    def sees(name, state):
        got = other.run(STATES, json.dumps(state, separators=(",", ":")))
        check("%s: an EventSource of another origin %s" % (scheme, name), got == state, got)

    other.run(WATCH, url("members", id=id, key=keys["key"]))
    sees("sees that nobody is there", {"peers": 0})

    socket_url = url("connect", id=id, key=keys["key"]).replace("http", "ws", 1)
    joined = [page.run(JOIN, socket_url) for page in (one, other)]
    check("%s: both pages join" % scheme, joined == [True, True], joined)

    sees("sees both join", {"peers": 2})

    text, big = "grüße 👋", "x" * 300_000
    raw = list(range(256)) * 8
    for name, sent, received in [("text", text, text), ("a text of 300,000 characters", big, big),
                                 ("binary", raw, {"bytes": raw})]:
        for way, sender, receiver in [("there", one, other), ("back", other, one)]:
            sender.run(SEND, sent)
            got = receiver.run(NEXT)
            check("%s: %s goes %s" % (scheme, name, way), got == received, got)

    status, _ = one.run(FETCH, url("remove", id=id, **keys))
    check("%s: fetch() removes" % scheme, status == 200, status)
    sees("sees the removal", {"reason": "removed"})
    for name, page in [("one", one), ("other", other)]:
        got = page.run(NEXT)
        expected = {"code": 4000, "reason": "registration removed"}
        check("%s: the %s page sees close code 4000" % (scheme, name), got == expected, got)

    status, body = one.run(FETCH, url("remove", id=id, **keys))
    check("%s: fetch() can read an error" % scheme, status == 404 and body.strip(), (status, body))


def main():
    page = serve_pages() + "/page.html"
    with Browser() as browser:
        one, other = browser.first_window(), browser.new_window()
        one.open(page)
        other.open(page)
        for base in sys.argv[1:]:
            through(base.rstrip("/"), one, other)


try:
    main()
except Exception as e:
    check("the pages get to the end", False, "%s: %s" % (type(e).__name__, e))
