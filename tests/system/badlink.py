#!/usr/bin/env python3
"""A bad line between two network namespaces, in user space: no help of the kernel is needed but its tun devices.

    badlink.py NAMESPACE [--delay MS] [--jitter MS] [--loss %] [--double %] [--reorder %] [--flip %] [--seed N]

One end, "near", is in the namespace in which this runs, the other one, "far", in that of the process NAMESPACE. Their
addresses are 192.0.2.1 and 192.0.2.2, and 2001:db8::1 and 2001:db8::2. Prints "ready", then carries packets until it
gets TERM or INT, and prints what it did to TCP's: "carried 5123", "lost 151" and so on, one a line. Packets of others
pass unharmed. Chances are of each packet by itself, in both ways alike; what is delayed keeps its order, unless it is
to be reordered: then it waits a moment longer, and is counted if another one has overtaken it. A flipped bit is one of
the TCP segment, whose checksum shows it: the devices check and make it in full, as nothing is offloaded to them.
"""

import argparse
import collections
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
# Longer than it takes for another packet to come, and short of what makes a sender think that it is lost.
OVERTAKEN = 0.004
# Packets that wait in a device: more than all windows that the tests fill.
QUEUE = "10000"


def tun(name):
    """Makes a device of this namespace, and returns the descriptor that is its other side."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def set_up(name, last, inside=()):
    for command in (
        ["ip", "link", "set", name, "up", "txqueuelen", QUEUE],
        ["ip", "addr", "add", f"192.0.2.{last}/24", "dev", name],
        ["ip", "addr", "add", f"2001:db8::{last}/64", "dev", name, "nodad"],
    ):
        subprocess.run([*inside, *command], check=True)


def segment(packet):
    """Where the TCP segment of an IP packet begins, or None."""
    if packet[0] >> 4 == 4 and packet[9] == 6:
        return (packet[0] & 15) * 4
    return 40 if packet[0] >> 4 == 6 and packet[6] == 6 else None


class Way:
    """The packets that are on their way in one direction."""

    def __init__(self, rules, chance, counts, source, target):
        self.rules, self.chance, self.counts, self.source, self.target = rules, chance, counts, source, target
        self.queue, self.number, self.delivered, self.last = [], 0, 0, 0.0

    def happens(self, percent):
        return percent and self.chance.random() * 100 < percent

    def take(self):
        """Takes what the source has sent, some packets at a time, and decides what becomes of each."""
        for _ in range(64):
            try:
                packet = bytearray(os.read(self.source, 65536))
            except BlockingIOError:
                return
            self.send(packet, segment(packet), time.monotonic())

    def send(self, packet, start, now):
        if start is None:
            self.put(now, packet, harmed=False)
            return
        if self.happens(self.rules.loss):
            self.counts["lost"] += 1
            return
        if self.happens(self.rules.flip):
            bit = self.chance.randrange(start * 8, len(packet) * 8)
            packet[bit // 8] ^= 1 << bit % 8
            self.counts["flipped"] += 1
        due = now + (self.rules.delay + self.chance.uniform(-1, 1) * self.rules.jitter) / 1000
        if self.happens(self.rules.reorder):
            self.put(due + OVERTAKEN, packet)
            return
        self.last = max(self.last, due)
        self.put(self.last, packet)
        if self.happens(self.rules.double):
            self.counts["doubled"] += 1
            self.put(self.last, packet)

    def put(self, due, packet, harmed=True):
        self.number += 1
        heapq.heappush(self.queue, (due, self.number, packet, harmed))

    def deliver(self):
        """Hands over what is due."""
        while self.queue and self.queue[0][0] <= time.monotonic():
            _, number, packet, harmed = heapq.heappop(self.queue)
            if harmed:
                self.counts["carried"] += 1
                self.counts["reordered"] += number < self.delivered
                self.delivered = max(self.delivered, number)
            os.write(self.target, packet)


def carry(ways):
    while True:
        due = min((way.queue[0][0] for way in ways if way.queue), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select([way.source for way in ways], [], [], wait)
        for way in ways:
            if way.source in readable:
                way.take()
            way.deliver()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("namespace")
    for name in ("--delay", "--jitter", "--loss", "--double", "--reorder", "--flip"):
        parser.add_argument(name, type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    rules = parser.parse_args()

    near, far = tun("near"), tun("far")
    set_up("near", 1)
    subprocess.run(["ip", "link", "set", "far", "netns", rules.namespace], check=True)
    set_up("far", 2, ["nsenter", f"--net=/proc/{rules.namespace}/ns/net"])

    def stop(*_):
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    counts = collections.Counter(dict.fromkeys(("carried", "lost", "doubled", "reordered", "flipped"), 0))
    chance = random.Random(rules.seed)
    print("ready", flush=True)
    try:
        carry([Way(rules, chance, counts, near, far), Way(rules, chance, counts, far, near)])
    finally:
        for name, count in counts.items():
            print(name, count)


main()
