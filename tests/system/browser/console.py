"""The router's own page in a headless Chromium, as a person uses it: console.py URL [FOLDER]

With the keyboard alone: registers, opens two devices, and sees messages pass; then on a phone's screen, in light and
in dark; then a hostclient registration, a paired one whose clients are accepted and rejected, and one that exists. Pictures go to FOLDER, if one is named. A line per check: "ok", or "FAIL", its name and the reason, with tabs
between.
"""
import base64
import os
import sys
import time

from webdriver import Browser, check

TAB, ENTER, SPACE, RIGHT = "\ue004", "\ue007", " ", "\ue014"


class Person:
    """Somebody in front of a window, with a keyboard."""

    def __init__(self, window):
        self.window, self.browser = window, window.browser

    def press(self, keys):
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.browser.do("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def focus(self):
        """What the keyboard goes to, by its accessible name."""
        return self.window.run("""
            const at = document.activeElement;
            return at.getAttribute('aria-label') || at.labels?.[0]?.textContent.trim() || at.textContent.trim();""")

    def reach(self, name):
        """Goes on with the tabulator until something is reached."""
        for _ in range(40):
            if self.focus().startswith(name):
                return True
            self.press(TAB)
        return False

    def sees(self, script, *args):
        """Waits until something is to be seen; what it is, or nothing after ten seconds."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            seen = self.window.run("return %s;" % script, *args)
            if seen:
                return seen
            time.sleep(0.05)
        return None


LINES = "[...document.querySelectorAll('.log')[%d].children].map(line => line.textContent)"
STATES = "[...document.querySelectorAll('.state')].map(state => state.textContent).join() === %r"
MEMBERS = "document.querySelector('#members').textContent"
SAID = "document.querySelector('#said').textContent"
WAITING = "[...document.querySelectorAll('.waiting span')].map(hello => hello.textContent).join()"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def complaints(browser):
    """What the browser itself has to say: errors of scripts, and what the page's policy forbade."""
    path = "/session/%s/se/log" % browser.session
    return [entry["message"] for entry in browser.call("POST", path, {"type": "browser"})]


def emulate(browser, scheme, width=None):
    def cdp(command, parameters):
        browser.do("goog/cdp/execute", {"cmd": command, "params": parameters})
    cdp("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    if width:
        cdp("Emulation.setDeviceMetricsOverride",
            {"width": width[0], "height": width[1], "deviceScaleFactor": 1, "mobile": width[0] < 600})


def picture(browser, name):
    if len(sys.argv) > 2:
        shot = browser.call("GET", "/session/%s/screenshot" % browser.session)
        with open(os.path.join(sys.argv[2], name + ".png"), "wb") as file:
            file.write(base64.b64decode(shot))


def lobby(person):
    check("the page says what it is for", person.window.run("return document.title") == "ws-router: try it")
    check("the keyboard reaches the button", person.reach("Register"), person.focus())
    person.press(ENTER)
    said = person.sees("%s.startsWith('Registered as ') && %s" % (SAID, SAID))
    check("it registers", said and len(said) == len("Registered as ") + 32, said)
    check("two devices join", person.sees(STATES % "joined,joined"))
    check("their number is shown", person.sees(MEMBERS + " === 'peers: 2'"), person.sees(MEMBERS))
    check("the keyboard is at the first device", person.sees("document.activeElement.ariaLabel === 'What Device A says'"))
    person.press("hello <b>there</b>" + ENTER)
    check("what one says arrives at the other as it is", person.sees((LINES % 1) + ".includes('hello <b>there</b>')"))
    check("the keyboard reaches the other device", person.reach("What Device B says"), person.focus())
    person.press("and back" + ENTER)
    check("and the other way round", person.sees((LINES % 0) + ".includes('and back')"))


def other_kind(person):
    roles = "[...document.querySelectorAll('select')].filter(one => one.checkVisibility()).map(one => one.value).join()"
    check("in a lobby there are no roles", person.sees(roles + " === ''"))
    person.window.run("document.querySelector('input[name=kind]').focus(); return true;")
    person.press(RIGHT)
    check("the keyboard reaches the button again", person.reach("Register"), person.focus())
    person.press(ENTER)
    check("host and client join", person.sees(STATES % "joined,joined") and person.sees(roles + " === 'host,client'"))
    check("their numbers are shown", person.sees(MEMBERS + " === 'hosts: 1, clients: 1'"), person.sees(MEMBERS))
    person.window.run("document.querySelectorAll('.join')[1].click(); return true;")
    check("a change is shown", person.sees(MEMBERS + " === 'hosts: 1, clients: 0'"), person.sees(MEMBERS))
    person.window.run("document.querySelectorAll('.join')[1].click(); return true;")
    check("and the change back", person.sees(MEMBERS + " === 'hosts: 1, clients: 1'"), person.sees(MEMBERS))
    person.window.run("document.querySelector('.device .send input').focus(); return true;")
    person.press("from the host" + ENTER)
    check("the client hears the host", person.sees((LINES % 1) + ".includes('from the host')"))
    check("the keyboard reaches the removal", person.reach("Remove"), person.focus())
    person.press(SPACE)
    closed = ".includes('closed: 4000 registration removed')"
    check("no number is shown after it", person.sees(MEMBERS + " === ''"), person.sees(MEMBERS))
    check("a removal is seen by both", person.sees((LINES % 0) + closed) and person.sees((LINES % 1) + closed))


def paired(person):
    """Returns the id and key of the registration."""
    person.window.run("document.querySelector('input[value=paired]').click(); return true;")
    check("the keyboard reaches the button for a paired registration", person.reach("Register"), person.focus())
    person.press(ENTER)
    check("the host listens and the client waits", person.sees(STATES % "listening,joined"))
    check("the waiting client is counted", person.sees(MEMBERS + " === 'hosts: 1, pairs: 0, waiting: 1'"), person.sees(MEMBERS))
    check("its hello is shown", person.sees(WAITING + " === 'Device B'"), person.sees(WAITING))
    check("the keyboard reaches the acceptance", person.reach("Accept"), person.focus())
    person.press(ENTER)
    check("the host has an end of the pair", person.sees(STATES % "listening,joined,joined"))
    check("the pair is counted", person.sees(MEMBERS + " === 'hosts: 1, pairs: 1, waiting: 0'"), person.sees(MEMBERS))
    check("nobody waits any more", person.window.run("return %s;" % WAITING) == "")
    for speaker, hearer, words in ((1, 2, "to the host"), (2, 1, "to the client")):
        person.window.run("document.querySelectorAll('.send input')[arguments[0]].focus(); return true;", speaker)
        person.press(words + ENTER)
        check("the pair passes " + words, person.sees((LINES % hearer) + ".includes('%s')" % words))
    check("the keyboard reaches another device", person.reach("Add a device"), person.focus())
    person.press(ENTER)
    person.window.run("""
        const added = [...document.querySelectorAll('.device')].at(-1);
        added.querySelector('.hello input').value = '<i>third</i>';
        added.querySelector('.join').click();
        return true;""")
    check("another client waits, its hello as it is", person.sees(WAITING + " === '<i>third</i>'"), person.sees(WAITING))
    person.window.run("document.querySelectorAll('.waiting button')[1].click(); return true;")
    check("a rejected client is closed", person.sees((LINES % 3) + ".some(line => line.startsWith('closed: 4006'))"))
    check("and counts no more", person.sees(MEMBERS + " === 'hosts: 1, pairs: 1, waiting: 0'"), person.sees(MEMBERS))
    person.window.run("document.querySelectorAll('.join')[1].click(); return true;")
    check("the host's end is closed with its client", person.sees((LINES % 2) + ".some(line => line.startsWith('closed: 4007'))"))
    return person.window.run("return [%s.slice('Registered as '.length), document.querySelector('#key').value];" % SAID)


def opened(person, id, key):
    """A page that only watches a registration of another one."""
    person.window.run("""
        document.querySelector('#wish').value = arguments[0];
        document.querySelector('#key').value = arguments[1];
        document.querySelector('#open').click();
        return true;""", id, key)
    check("a registration that exists is opened", person.sees("%s === 'Opened %s, paired'" % (SAID, id)), person.sees(SAID))
    check("its members are shown", person.sees(MEMBERS + " === 'hosts: 1, pairs: 0, waiting: 0'"), person.sees(MEMBERS))


def main():
    url = sys.argv[1].rstrip("/") + "/console"
    with Browser() as browser:
        window = browser.first_window()
        person = Person(window)
        emulate(browser, "light", (1280, 900))
        window.open(url)
        lobby(person)
        for scheme in ("light", "dark"):
            emulate(browser, scheme, (1280, 900))
            picture(browser, "wide-" + scheme)
            emulate(browser, scheme, (375, 812))
            check("a phone in %s shows it without scrolling sideways" % scheme, not window.run("return %s;" % WIDE))
            picture(browser, "phone-" + scheme)
        emulate(browser, "dark", (1280, 900))
        other_kind(person)
        window.open(url + "/")
        check("a slash at the end doesn't matter", person.reach("Register"))
        person.press(ENTER)
        check("there too the devices join", person.sees(STATES % "joined,joined"))
        id, key = paired(person)
        second = browser.new_window()
        second.open(url)
        opened(Person(second), id, key)
        seen = complaints(browser)
        check("the browser has nothing to complain about", not seen, seen)


try:
    main()
except Exception as e:
    check("the page gets to the end", False, "%s: %s" % (type(e).__name__, e))
