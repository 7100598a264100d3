#!/usr/bin/python3
"""Connections that keep a server busy without ever asking it anything sensible: rude.py SOCKET. Prints `ready`, then waits."""
import os
import signal
import socket
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4)
# :method POST, :scheme http, :path /runtime.v1.RuntimeService/RunPodSandbox, content-type: application/grpc; all literal
HEADERS = (b"\x83\x86\x04\x28/runtime.v1.RuntimeService/RunPodSandbox\x40\x0ccontent-type\x10application/grpc")
OPENINGS = [
    b"",                                                          # nobody speaks
    PREFACE[:7],                                                  # stops in the middle
    PREFACE + SETTINGS,                                           # polite, and then nothing
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",                         # the wrong protocol
    os.urandom(4096),
    PREFACE + SETTINGS + frame(1, 4, 1, HEADERS),                 # a call whose body never comes
    PREFACE + SETTINGS + frame(1, 4, 1, HEADERS) + frame(0, 0, 1, b"\0\x7f\xff\xff\xff"),  # 2 GiB, it says
    PREFACE + SETTINGS + frame(6, 0, 0, b"pingpong") * 500,
    PREFACE + SETTINGS + b"".join(frame(1, 4, 2 * n + 1, HEADERS) + frame(3, 0, 2 * n + 1, b"\0\0\0\x08") for n in range(300)),
    PREFACE + SETTINGS * 2000,
]

held = []
for n in range(64):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.settimeout(1)
    try:
        s.sendall(OPENINGS[n % len(OPENINGS)])
    except OSError:
        pass  # shown the door already
    held.append(s)
print("ready", flush=True)
signal.pause()
