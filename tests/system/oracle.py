#!/usr/bin/env python3
"""A program that access rules ask: yes to the token "yes", no to all others. oracle.py /SOCKET, or oracle.py PORT

It needs no more of Python than its minimal package has.
"""

import os
import socket
import sys


def head_of(stream):
    """Reads a request, its body too; gives the lines of its head, none if it ends before."""
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        lines = head.decode().lower().splitlines()
        lengths = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
        if end and lengths and len(body) >= lengths[0]:
            return lines
        more = stream.recv(4096)
        if not more:
            return []
        data += more


place = sys.argv[1]
if place.startswith("/"):
    # Whoever finds it may connect, as the router's user does.
    os.umask(0)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
else:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(place)))
listener.listen()
while True:
    stream = listener.accept()[0]
    with stream:
        is_yes = "authorization: bearer yes" in head_of(stream)
        status = "204 No Content" if is_yes else "403 Forbidden"
        stream.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
