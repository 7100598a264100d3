#!/usr/bin/python3
"""A journald for one test: journald.py SOCKET FILE. Appends every datagram to FILE, fields as lines."""
import socket
import sys

s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
with open(sys.argv[2], "ab", buffering=0) as out:
    while True:
        out.write(s.recv(1 << 20) + b"\n")
