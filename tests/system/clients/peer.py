"""The member at the other end, which loses nothing: peer.py WS_URL ID PARAMETERS [--listen]

Joins, prints "joined", and says numbered messages as soon as it hears one; with --listen, it is the host of a paired
registration and accepts one client. When its input ends, it says the end, and prints what it has received once the other end has said so too.
"""
import asyncio
import json
import sys

import websockets

from sequence import END, Sequence, message

# Seconds between messages.
PACE = 0.004


def connect(parameters):
    return websockets.connect("%s/connect?id=%s&%s" % (sys.argv[1], sys.argv[2], parameters),
                              max_size=None, compression=None, ping_interval=None)


async def say(socket, answered, stop):
    # What nobody is there to receive is discarded.
    await answered.wait()
    number = 0
    while not stop.is_set():
        await socket.send(message(number))
        number += 1
        await asyncio.sleep(PACE)
    await socket.send(END)
    return number


async def talk(socket):
    stop, answered, heard = asyncio.Event(), asyncio.Event(), Sequence()
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(stop.set)))
    said = asyncio.ensure_future(say(socket, answered, stop))
    try:
        async for text in socket:
            heard.take(text)
            answered.set()
            if heard.ended:
                break
        close = None
    except websockets.ConnectionClosed as closed:
        close = str(closed)
        stop.set()
    if socket.close_code is not None:
        close, _ = socket.close_code, said.cancel()
    count = await asyncio.gather(said, return_exceptions=True)
    print(json.dumps(dict(heard.outcome(), said=count[0] if isinstance(count[0], int) else None, close=close)), flush=True)


async def main():
    if sys.argv[4:] != ["--listen"]:
        async with connect(sys.argv[3]) as socket:
            print("joined", flush=True)
            await talk(socket)
        return
    async with connect(sys.argv[3]) as listening:
        print("joined", flush=True)
        number = json.loads(await listening.recv())["incoming"]
        async with connect("accept=" + number) as socket:
            await talk(socket)


asyncio.run(main())
