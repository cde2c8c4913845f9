"""Makes a TCP service reachable through ws-router from anywhere, for example an MQTT broker at home.

    python3 tcp-host.py [--id ID] [--subprotocol NAME] ROUTER HOST:PORT

Registers at ROUTER, such as https://relay.example.com, as the host of a paired registration, and passes the bytes of
each client on to a connection of its own to HOST:PORT. Clients join with the id, which is printed, and the client key;
with "--subprotocol mqtt" any MQTT library for web pages is a client. The secrets are in the environment:
WS_ROUTER_KEY, WS_ROUTER_HOST_KEY and WS_ROUTER_CLIENT_KEY. Needs Python 3.9 and Debian's python3-websockets.
"""
import argparse
import asyncio
import json
import os
import urllib.parse
import urllib.request

import websockets

# Seconds between attempts to reach the router.
RETRY = 2


def register(options):
    terms = {"reg_type": "paired", "id_req": options.id, "subprotocol": options.subprotocol}
    terms.update((name, os.environ["WS_ROUTER_" + name.upper()]) for name in ("key", "host_key", "client_key"))
    form = urllib.parse.urlencode({name: value for name, value in terms.items() if value})
    with urllib.request.urlopen(options.router + "/register", form.encode(), timeout=20) as answer:
        return answer.read().decode()


def connect(options, **parameters):
    address = options.router.replace("http", "ws", 1) + "/connect?" + urllib.parse.urlencode(parameters)
    return websockets.connect(address, max_size=None, compression=None)


async def to_service(client, writer):
    async for message in client:
        writer.write(message.encode() if isinstance(message, str) else message)
        await writer.drain()


async def to_client(reader, client):
    while data := await reader.read(65536):
        await client.send(data)


async def serve(options, id, number, listening):
    """Connects one client to the service, until one of them leaves."""
    try:
        reader, writer = await asyncio.open_connection(*options.service.rsplit(":", 1))
    except OSError as error:
        print(f"{options.service}: {error}", flush=True)
        await listening.send(json.dumps({"reject": number, "reason": "the service can't be reached"}))
        return
    try:
        async with connect(options, id=id, accept=number) as client:
            ways = [asyncio.ensure_future(to_service(client, writer)), asyncio.ensure_future(to_client(reader, client))]
            _, other = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in other:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    finally:
        writer.close()


async def listen(options):
    id = await asyncio.to_thread(register, options)
    async with connect(options, id=id, key=os.environ["WS_ROUTER_KEY"], sock_type="host") as listening:
        # The router may have given another id.
        print(f"listening as {id}", flush=True)
        async for message in listening:
            # Numbers of clients that are "gone" are answered with 404, should they be served at the moment.
            if number := json.loads(message).get("incoming"):
                client = asyncio.ensure_future(serve(options, id, number, listening))
                clients.add(client)
                client.add_done_callback(ended)


# A task that nobody refers to may be dropped.
clients = set()


def ended(client):
    clients.discard(client)
    if error := client.exception():
        print(f"a client: {error}", flush=True)


async def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].strip())
    parser.add_argument("router", type=lambda url: url.rstrip("/"))
    parser.add_argument("service")
    parser.add_argument("--id")
    parser.add_argument("--subprotocol")
    options = parser.parse_args()
    while True:
        try:
            await listen(options)
        except (OSError, websockets.WebSocketException) as error:
            print(f"{options.router}: {error}", flush=True)
        # Open pairs go on meanwhile.
        await asyncio.sleep(RETRY)


asyncio.run(main())
