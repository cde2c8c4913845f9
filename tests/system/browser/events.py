"""The protocol manual's example of an EventSource in Chromium, through what stands before the router: events.py URL

Its page shows what the manual's does, while members join and leave by the same way. A line per check, as of
webdriver.check.
"""
import os
import sys

from webdriver import Browser, check, serve_pages

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from manual import example  # noqa: E402

url = sys.argv[1]
SHOWN = """
for (const end = Date.now() + 15000; shown.at(-1) !== args[0] && Date.now() < end;) await new Promise(go => setTimeout(go, 20));
return shown.at(-1);"""
CLOSED = """
for (const end = Date.now() + 15000; source.readyState !== EventSource.CLOSED && Date.now() < end;)
  await new Promise(go => setTimeout(go, 20));
return source.readyState === EventSource.CLOSED;"""


def main():
    code = example("ws-router-protocol.7", "new EventSource").replace("https://router.example", url)
    with Browser() as browser:
        page = browser.first_window()
        page.open(serve_pages() + "/page.html")
        id = page.run("const terms = new URLSearchParams(args[1]);"
                      "return await (await fetch(`${args[0]}/register`, {method: 'POST', body: terms})).text();",
                      url, "key=k&host_key=h&client_key=c&reg_type=hostclient")
        page.run("const [id, key] = args; window.shown = []; const show = text => shown.push(text);" + code +
                 "window.source = events;", id, "c")

        def shows(text):
            got = page.run(SHOWN, text)
            check("the page shows \"%s\"" % text, got == text, got)

        def join(name, role):
            page.run("window[args[1]] = new WebSocket(args[0]);",
                     "%s/connect?id=%s&key=k&sock_type=%s" % (url.replace("http", "ws", 1), id, role), name)

        shows("offline")
        join("host", "host")
        shows("online, 0 connected")
        join("client", "client")
        shows("online, 1 connected")
        page.run("host.close();")
        shows("offline")
        page.run("await fetch(`${args[0]}/remove?id=${args[1]}&key=k&host_key=h`);", url, id)
        check("and reads the end, after which it asks no more", page.run(CLOSED))


try:
    main()
except Exception as error:
    check("the page gets to the end", False, "%s: %s" % (type(error).__name__, error))
