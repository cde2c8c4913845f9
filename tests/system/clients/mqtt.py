"""MQTT clients of a broker that is reached through the router: Paho here, MQTT.js in Node and in a page of Chromium:

    mqtt.py BROKER_PORT NODE_MODULES HTTP_URL HTTPS_URL ID CLIENT_KEY

The host (packaging/examples/paired/tcp-host.py) listens already, for a broker on BROKER_PORT. A line per check, as of
webdriver.check.
"""
import os
import queue
import subprocess
import sys

import paho.mqtt
import paho.mqtt.client
import paho.mqtt.enums

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) for folder in ("..", "../browser")]
from manual import example  # noqa: E402
from webdriver import Browser, check, serve_pages  # noqa: E402

broker, modules, plain, secure, id, key = sys.argv[1:]
PATIENCE = 30
PATH = "/connect?id=%s&client_key=%s&sock_type=client" % (id, key)
# By quality of service. Of more than some ten of QoS 2 at once, MQTT.js and mosquitto leave some undelivered now and then,
# also without a router between them.
MANY = (500, 500, 15)


class Paho:
    """A client, at the broker itself or through the router; what it receives is in `messages`."""

    def __init__(self, port, path=None, **options):
        self.messages, self.connected, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        self.published = queue.Queue()
        self.client = paho.mqtt.client.Client(paho.mqtt.enums.CallbackAPIVersion.VERSION2,
                                              transport="websockets" if path else "tcp", **options)
        if path:
            self.client.ws_set_options(path)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connected.put(reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.subscribed.put(mid)
        self.client.on_publish = lambda client, data, mid, reason, properties: self.published.put(mid)
        self.client.on_message = lambda client, data, message: self.messages.put(
            (message.topic, message.payload, message.qos))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.reason = self.connected.get(timeout=PATIENCE)

    def subscribe(self, topic):
        self.client.subscribe(topic, 2)
        self.subscribed.get(timeout=PATIENCE)
        return self

    def received(self, count):
        """The next messages; fewer, if the next one doesn't come."""
        got = []
        try:
            while len(got) < count:
                got.append(self.messages.get(timeout=PATIENCE))
        except queue.Empty:
            print("     %d of %d messages came" % (len(got), count), flush=True)
        return got

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()


def port(url):
    return int(url.rsplit(":", 1)[1])


def exchange(one, other, one_name, other_name):
    """All qualities of service, text and binary, small and large, from one to the other."""
    payloads = ["grüße 👋".encode(), bytes(range(256)), b"", os.urandom(300_000)]
    for qos in (0, 1, 2):
        sent = [("between/%d" % number, payload, qos) for number, payload in enumerate(payloads)]
        for topic, payload, _ in sent:
            one.client.publish(topic, payload, qos)
        got = other.received(len(sent))
        check("QoS %d from %s to %s" % (qos, one_name, other_name), got == sent, [(m[0], len(m[1]), m[2]) for m in got])


def by_paho():
    here, there = Paho(port(plain), PATH).subscribe("to/python/#"), Paho(int(broker)).subscribe("between/#")
    name = "Paho %s" % paho.mqtt.__version__
    check("%s connects to the broker through the router" % name, here.reason == "Success", here.reason)
    exchange(here, there, name, "a client at the broker")
    there.client.unsubscribe("between/#")
    here.subscribe("between/#")
    exchange(there, here, "a client at the broker", name)

    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mqtt.js")
    with subprocess.Popen(["node", script, plain.replace("http", "ws", 1) + PATH], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, MQTT_JS=os.path.join(modules, "mqtt"))) as node:
        try:
            ready = node.stdout.readline().strip()
            check("MQTT.js connects to it from Node", ready == "ready", ready)
            for qos in (0, 1, 2):
                payloads = [b"%d" % number for number in range(MANY[qos])] + [os.urandom(300_000)]
                for payload in payloads:
                    here.client.publish("to/js/room", payload, qos)
                got = here.received(len(payloads))
                expected = [("to/python/room", payload, qos) for payload in payloads]
                check("%d messages of QoS %d from Paho to MQTT.js and back, in order and once" % (len(payloads), qos),
                      got == expected and here.messages.empty(), [m[1][:10] for m in got[:5]])
        finally:
            node.terminate()
    check("MQTT.js leaves cleanly", node.returncode == 0, node.returncode)
    there.leave()
    return here


def by_page(other):
    """The manual's example, which knows nothing of a router."""
    code = example("ws-router-protocol.7", "mqtt.connect").replace("wss://router.example", secure.replace("http", "ws", 1))
    with Browser() as browser:
        page = browser.first_window()
        page.open(serve_pages(os.path.join(modules, "mqtt/dist")) + "/")
        page.run("""
            await new Promise((resolve, reject) => {
              const script = document.createElement("script");
              script.src = "mqtt.min.js", script.onload = resolve, script.onerror = reject;
              document.head.append(script);
            });""")
        ready = page.run("const [id, key] = args; window.heard = [];" + code + """
            window.broker = broker;
            broker.on("message", (topic, payload) => heard.push(`${topic}: ${payload}`));
            return await new Promise((resolve, reject) => {
              broker.on("error", reject);
              broker.on("packetreceive", packet => packet.cmd === "suback" && resolve(true));
            });""", id, key)
        check("a page subscribes with the manual's example", ready is True, ready)
        other.client.publish("lamps/kitchen", "on", 1)
        heard = page.run("""
            for (const end = Date.now() + 15000; !heard.length && Date.now() < end;) await new Promise(go => setTimeout(go, 20));
            return heard;""")
        check("and receives what Paho publishes", heard == ["lamps/kitchen: on"], heard)
        other.subscribe("lamps/kitchen/state")
        page.run("broker.publish('lamps/kitchen/state', 'is on', {qos: 1});")
        got = other.received(1)
        check("and the other way", got == [("lamps/kitchen/state", b"is on", 1)], got)


def comes_back():
    """A client with a session at the broker loses its connection to the router, and misses nothing of QoS 1."""
    here = Paho(port(plain), PATH, client_id="comes-back", clean_session=False).subscribe("news/#")
    there = Paho(int(broker))
    # As a network that is lost.
    here.client.socket().close()
    for number in range(20):
        there.client.publish("news/%d" % number, b"%d" % number, 1)
    reason = here.connected.get(timeout=PATIENCE)
    got = here.received(20)
    check("Paho comes back through the router, and the broker has kept its messages",
          reason == "Success" and [m[1] for m in got] == [b"%d" % n for n in range(20)], got)
    here.leave()
    there.leave()


try:
    paho_through_router = by_paho()
    by_page(paho_through_router)
    paho_through_router.leave()
    comes_back()
except Exception as error:
    check("the MQTT clients get to the end", False, "%s: %s" % (type(error).__name__, error))
