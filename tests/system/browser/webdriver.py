"""A headless Chromium through ChromeDriver, by the standard library alone (W3C WebDriver over HTTP)."""
import functools
import http.server
import json
import os
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

# No sandbox, since tests run as root; the rest keeps the browser from calling home.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
         "--no-proxy-server", "--ignore-certificate-errors"]


def check(name, condition, seen=""):
    """Prints the outcome of a check: "ok", or "FAIL", its name and what was seen, with tabs between."""
    print("ok\t" + name if condition else "FAIL\t%s\tsaw %r" % (name, str(seen)[:300]), flush=True)


class Pages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def serve_pages(folder=os.path.dirname(os.path.abspath(__file__))):
    """Serves the files of a folder from a server of its own, and returns its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Pages, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "http://127.0.0.1:%d" % server.server_port


class Browser:
    """One browser with windows; a context manager, since it must not outlive the test."""

    def __init__(self):
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.profile = tempfile.TemporaryDirectory(prefix="profile-", ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        self.address = self.session = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        for line in self.driver.stdout:
            if "successfully on port " in line:
                self.address = "http://127.0.0.1:%d" % int(line.rsplit(" ", 1)[1].strip(".\n"))
                break
        else:
            raise RuntimeError("chromedriver ended early")
        options = {"args": FLAGS + ["--user-data-dir=" + self.profile.name]}
        wanted = {"browserName": "chrome", "acceptInsecureCerts": True, "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL"},
                  "timeouts": {"script": 20000, "pageLoad": 30000}}
        self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def __exit__(self, *_):
        try:
            if self.session:
                self.call("DELETE", "/session/" + self.session)
        finally:
            self.driver.terminate()
            self.driver.wait(10)
            self.profile.cleanup()

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise RuntimeError(json.load(e)["value"]["message"].splitlines()[0]) from None

    def do(self, what, body=None):
        return self.call("POST", "/session/%s/%s" % (self.session, what), body or {})

    def first_window(self):
        return Window(self, self.call("GET", "/session/%s/window" % self.session))

    def new_window(self):
        return Window(self, self.do("window/new", {"type": "tab"})["handle"])


class Window:
    def __init__(self, browser, handle):
        self.browser, self.handle = browser, handle

    def open(self, url):
        self.browser.do("window", {"handle": self.handle})
        self.browser.do("url", {"url": url})

    def run(self, script, *args):
        """Runs the body of an async function in the page, and returns what it returns."""
        self.browser.do("window", {"handle": self.handle})
        wrapped = ("const [done, ...args] = [arguments[arguments.length - 1], ...Array.from(arguments).slice(0, -1)];"
                   "(async (...args) => {%s})(...args).then(value => done({value}), e => done({error: String(e)}));"
                   % script)
        answer = self.browser.do("execute/async", {"script": wrapped, "args": list(args)})
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value")
