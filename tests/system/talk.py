#!/usr/bin/env python3
"""Devices that talk through a router: registers a lobby, joins, passes messages, and tells how each member ends.

    talk.py [--unix PATH] [--members N] [--hold] [--header "NAME: VALUE"] URL

Without --hold it prints "ok" when a message of each member has reached all others. With --hold it then prints "ready"
and does what it reads on standard input: "say" passes messages again and prints "ok", "bytes" passes 1 MiB of binary,
and the end of the input leaves. When members are closed from the other end, it prints their close codes in a line
("closed 1001 1001"); a connection that ends without one counts as 1006. Certificates aren't verified: those of the
tests are their own. Only Python's library is needed, so it runs wherever there is a python3.
"""

import argparse
import base64
import os
import select
import socket
import ssl
import struct
import sys
import urllib.parse

PATIENCE = 20


class Closed(Exception):
    """The other end closed the connection."""

    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class Place:
    """Where the router is reached."""

    def __init__(self, url, unix, headers):
        self.url, self.unix, self.headers = urllib.parse.urlsplit(url), unix, headers

    def connect(self):
        if self.unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            connection.connect(self.unix)
        else:
            port = self.url.port or (443 if self.url.scheme == "https" else 80)
            connection = socket.create_connection((self.url.hostname, port), PATIENCE)
        if self.url.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection, server_hostname=self.url.hostname)
        return connection

    def request(self, path, headers=()):
        """Sends a GET, and returns the connection, the status, and what came of the body with the head."""
        connection = self.connect()
        lines = [f"GET {self.url.path.rstrip('/')}{path} HTTP/1.1", f"Host: {self.url.netloc}", *self.headers, *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(4096)
            if not data:
                raise SystemExit(f"{path.split('?')[0]}: the connection ended in the answer's head")
            head += data
        head, body = head.split(b"\r\n\r\n", 1)
        return connection, int(head.split(b" ")[1]), body

    def get(self, path):
        connection, status, body = self.request(path, ["Connection: close"])
        while data := connection.recv(4096):
            body += data
        if status != 200:
            raise SystemExit(f"{path.split('?')[0]}: {status} {body.decode(errors='replace')}")
        return body.decode()


class Member:
    """A websocket that joined."""

    def __init__(self, place, registration, key):
        nonce = base64.b64encode(os.urandom(16)).decode()
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {nonce}"]
        self.connection, status, self.read = place.request(f"/connect?id={registration}&key={key}", upgrade)
        if status != 101:
            raise SystemExit(f"connect: {status} {self.read.decode(errors='replace')}")

    def send(self, opcode, payload):
        mask, size = os.urandom(4), len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size) if size < 65536 else b"\xff" + struct.pack("!Q", size)
        pattern = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")).to_bytes(size, "big")
        self.connection.sendall(bytes([0x80 | opcode]) + length + mask + masked)

    def take(self, size):
        while len(self.read) < size:
            data = self.connection.recv(65536)
            if not data:
                raise Closed(1006)
            self.read += data
        taken, self.read = self.read[:size], self.read[size:]
        return taken

    def receive(self):
        """Returns the next message; pings are answered, and a close is too."""
        while True:
            first, size = self.take(2)
            if size == 126:
                (size,) = struct.unpack("!H", self.take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self.take(8))
            payload, opcode = self.take(size), first & 15
            if opcode == 8:
                self.send(8, payload)
                raise Closed(struct.unpack("!H", payload[:2])[0] if payload else 1005)
            if opcode == 9:
                self.send(10, payload)
            elif opcode != 10:
                return payload

    def ending(self):
        """Reads on until the other end closes, and returns the close code."""
        try:
            while True:
                self.receive()
        except Closed as closed:
            return closed.code
        except ConnectionError:
            return 1006


def talk(members, payload, opcode):
    for number, sender in enumerate(members):
        # Each message is another one, so that none can stand for a second one.
        said = payload + b" %d" % number
        sender.send(opcode, said)
        for other in members:
            if other is not sender and other.receive() != said:
                raise SystemExit("a message arrived changed, twice or out of its turn")
    print("ok", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--unix")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("url")
    options = parser.parse_args()
    place = Place(options.url, options.unix, options.header)
    registration = place.get("/register?key=k&host_key=h&reg_type=lobby")
    members = [Member(place, registration, "k") for _ in range(options.members)]
    talk(members, "grüß dich".encode(), 1)
    if not options.hold:
        return
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([sys.stdin, *(member.connection for member in members)], [], [])
        if sys.stdin not in readable:
            print("closed", *(member.ending() for member in members), flush=True)
            return
        match sys.stdin.readline().strip():
            case "":
                return
            case "say":
                talk(members, "noch einmal".encode(), 1)
            case "bytes":
                talk(members, os.urandom(1 << 20), 2)


main()
