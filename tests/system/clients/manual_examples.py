"""The protocol manual's shell commands and its page in a browser's console, as they stand:

    manual_examples.py CONTROL_URL

Runs where the router listens on the manual's address, http://127.0.0.1:8741; another one at CONTROL_URL requires the
token that is in the environment as TOKEN. Only ids, and the router of the examples with tokens, are replaced. A line
per check, as of webdriver.check. Examples that need more have groups of their own: paired, mqtt, send.
"""
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) for folder in ("..", "../browser")]
from manual import example, examples  # noqa: E402
from webdriver import Browser, check, serve_pages  # noqa: E402

PAGE = "ws-router-protocol.7"
ROUTER = "http://127.0.0.1:8741"
guarded = sys.argv[1]
PATIENCE = 20
ID = re.compile("[0-9a-f]{32}")


def commands(text):
    """The commands of an example, each with the lines that it prints there."""
    found = []
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif found:
            found[-1][1].append(line)
    return found


def run(command):
    """Runs one that ends by itself, and returns what it prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr + " (status %d)" % done.returncode


class Terminal:
    """A command that a person types into, or watches."""

    def __init__(self, command):
        self.process = subprocess.Popen("exec " + command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def types(self, line):
        self.process.stdin.write(line + "\n")

    def line(self):
        return self.process.stdout.readline().rstrip("\n")


def ask(path, base=ROUTER):
    # The one that requires no token ignores it.
    request = urllib.request.Request(base + path, headers={"Authorization": "Bearer " + os.environ["TOKEN"]})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.read().decode()


def await_members(id, base=ROUTER, **numbers):
    """Waits until a registration has so many members. Its key is the same in all examples."""
    end = time.monotonic() + PATIENCE
    while json.loads(ask("/members?id=%s&key=abc" % id, base)) != numbers:
        if time.monotonic() > end:
            raise RuntimeError("no %s in %s" % (numbers, id))
        time.sleep(0.02)


def talk(name, id, one, other, base=ROUTER, **numbers):
    """Types a line into one of two terminals, and reads it in the other."""
    with Terminal(one) as first, Terminal(other) as second:
        await_members(id, base, **numbers)
        for way, sender, receiver in [("one way", first, second), ("the other way", second, first)]:
            sender.types("hello")
            got = receiver.line()
            check("%s, %s" % (name, way), got == "hello", got)


def first_that(condition):
    return next(block for block in examples(PAGE) if condition(block))


def in_shell():
    text = example(PAGE, "5bb0...")
    (register, _), (join, _) = commands(text)
    id = run(register)
    check("the first example registers", ID.fullmatch(id), id)
    join = join.replace("5bb0...", id)
    talk("the first example joins", id, join, join, peers=2)

    (register, _), = commands(first_that(lambda block: "\n5bb0" in block and "5bb0..." not in block))
    id = run(register)
    check("a lobby is registered with curl", ID.fullmatch(id), id)
    (register, printed), = commands(example(PAGE, "reg_type=lobby&id_req=living-room"))
    got = run(register)
    check("a POST with an id prints %s" % printed[0], [got] == printed, got)
    (join, _), = commands(first_that(lambda block: block.startswith("$ websocat") and "living-room" in block))
    talk("two terminals with websocat", "living-room", join, join, peers=2)

    # The registration has ended with its last member.
    run(register)
    (remove, _), = commands(example(PAGE, "/remove\n"))
    got = run(remove)
    check("it is removed", got == "", got)

    id = ask("/register?key=abc&host_key=h&reg_type=hostclient")
    (host, _), (client, _) = commands(example(PAGE, "key=abc&sock_type=host'\n$ websocat"))
    talk("a host and a client with websocat", id, host.replace("ID", id), client.replace("ID", id), hosts=1, clients=1)

    id = ask("/register?key=abc&host_key=h&reg_type=hostclient")
    (watch, printed), = commands(example(PAGE, "curl -N"))
    host = "websocat '%s/connect?id=%s&key=abc&sock_type=host'" % (ROUTER.replace("http", "ws", 1), id)
    with Terminal(host):
        await_members(id, hosts=1, clients=0)
        with Terminal(watch.replace("id=ID", "id=" + id) + " 2>/dev/null") as watcher:
            got = [watcher.line()]
            with Terminal(host.replace("=host", "=client")):
                while '"clients":1' not in got[-1]:
                    got.append(watcher.line())
                run("curl -sf '%s/remove?id=%s&key=abc&host_key=h'" % (ROUTER, id))
                got.extend(watcher.process.stdout.read().splitlines())
    check("the members' events are printed as the manual has them", got == printed, got)


def with_token():
    text = example(PAGE, "$TOKEN").replace("https://example.com", guarded).replace("wss://example.com", guarded.replace("http", "ws", 1))
    lines = text.split("\ns = new")[0]
    (register, _), (join, _) = commands(lines)
    id = run(register)
    check("a registration with a token", ID.fullmatch(id), id)
    join = join.replace("id=ID", "id=" + id)
    talk("two members with a token", id, join, join, guarded, peers=2)
    return "s = new" + text.split("\ns = new")[1]


def in_console(line_with_token):
    """Typed line by line, as a person does it."""
    lines = first_that(lambda block: block.startswith('s = new WebSocket("ws:')).splitlines()
    phone = example(PAGE, "lamp on")
    with Browser() as browser:
        one, other = browser.first_window(), browser.new_window()
        run("curl -sf '%s/register?key=abc&host_key=h&reg_type=lobby&id_req=living-room'" % ROUTER)
        for window in (one, other):
            window.open(serve_pages() + "/page.html")
            window.run("window.logged = []; console.log = (...words) => logged.push(words.join(' '));")
            for line in lines[:-1]:
                window.run("window." + line)
        await_members("living-room", peers=2)
        one.run(lines[-1])
        logged = """for (const end = Date.now() + 15000; !logged.length && Date.now() < end;) await new Promise(go => setTimeout(go, 20));
                    return logged.splice(0);"""
        got = other.run(logged)
        check("two consoles: what is said in one is printed in the other", got == ["hello"], got)
        run("curl -sf '%s/remove?id=living-room&key=abc&host_key=h'" % ROUTER)
        got = one.run(logged)
        check("and the code and the reason of the end", got == ["4000 registration removed"], got)

        # A program that is away for a moment.
        run("curl -sf '%s/register?key=k&host_key=h&reg_type=hostclient&id_req=living-room&wait=60'" % ROUTER)
        one.run(phone.replace("wss://router.example", ROUTER.replace("http", "ws", 1)) +
                "await new Promise(done => phone.onclose = done);")
        with Terminal("websocat '%s/connect?id=living-room&key=k&sock_type=host'" % ROUTER.replace("http", "ws", 1)) as program:
            got = program.line()
        check("what a phone has said waits for the program", got == "lamp on", got)

        id = ask("/register?key=abc&host_key=h&reg_type=lobby", guarded)
        got = one.run("const [url, token] = args; let s;" + line_with_token +
                      "return await new Promise(done => { s.onopen = () => done(s.protocol); s.onclose = () => done('closed'); });",
                      "%s/connect?id=%s&key=abc" % (guarded.replace("http", "ws", 1), id), os.environ["TOKEN"])
        check("a page joins with a token", got == "ws-router", got)


try:
    in_shell()
    in_console(with_token())
except Exception as error:
    check("the examples get to the end", False, "%s: %s" % (type(error).__name__, error))
