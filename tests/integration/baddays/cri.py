#!/usr/bin/python3
"""A CRI client for bad days: one call a command, and nothing hidden behind it.

usage: cri.py SOCKET METHOD [NAME=VALUE...]     e.g. cri.py S run_pod name=a uid=u host_network=1
       cri.py SOCKET each METHOD NAME < VALUES  the same call for every line, up to 8 at a time

Prints what the answer holds as NAME VALUE lines; `id` alone for calls that make something. An error goes to stderr as
`CODE message` and the exit status is 1; 3 when nobody answers. timeout=SECONDS sends grpc-timeout, as kubelet does.
curl speaks HTTP/2; a client that is killed takes its connection along, as a real one would.
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse

CODES = ("OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
         "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED").split()
STATES = ["CREATED", "RUNNING", "EXITED", "UNKNOWN"]
NODE = 2  # NamespaceMode


# --- protobuf, as much as this needs

def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def msg(*fields):
    """(number, value) pairs; an int is a varint, None is left out."""
    out = b""
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
            continue
        data = value.encode() if isinstance(value, str) else value
        out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def fields(data):
    """number -> list of values"""
    found, i = {}, 0

    def number():
        nonlocal i
        value = shift = 0
        while True:
            byte = data[i]
            i += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while i < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        else:
            assert key & 7 == 2, f"wire type {key & 7}"
            size = number()
            value = data[i:i + size]
            i += size
        found.setdefault(key >> 3, []).append(value)
    return found


# --- requests

def pod_config(a):
    node = NODE if a.get("host_network") else 0
    namespaces = msg((1, node), (2, int(a.get("pid", 1))), (3, node))
    return msg((1, msg((1, a["name"]), (2, a.get("uid", a["name"])), (3, a.get("ns", "default")), (4, int(a.get("attempt", 0))))),
               (2, a.get("hostname")), (3, a.get("logs")),
               (8, msg((1, a.get("cgroup")), (2, msg((1, namespaces))))))


def run_pod(a):
    return msg((1, pod_config(a)), (2, a.get("runtime")))


def create(a):
    memory = int(a["memory"]) if "memory" in a else None
    namespaces = msg((1, 0), (2, int(a.get("pid", 1))))
    padding = ((6, msg((1, "PADDING"), (2, "x" * 1024))) for _ in range(int(a.get("padding_kib", 0))))
    config = msg((1, msg((1, a["name"]), (2, int(a.get("attempt", 0))))), (2, msg((1, a["image"]))),
                 *((3, word) for word in ["/bin/sh", "-c", a["command"]]), *padding, (11, a.get("log")),
                 (15, msg((1, msg((4, memory))), (2, msg((3, namespaces))))))
    return msg((1, a["pod"]), (2, config), (3, pod_config({"name": "unused", "logs": a.get("logs")})))


METHODS = {
    "version": ("RuntimeService/Version", lambda a: b""),
    "status": ("RuntimeService/Status", lambda a: b""),
    "run_pod": ("RuntimeService/RunPodSandbox", run_pod),
    "stop_pod": ("RuntimeService/StopPodSandbox", lambda a: msg((1, a["id"]))),
    "remove_pod": ("RuntimeService/RemovePodSandbox", lambda a: msg((1, a["id"]))),
    "pod": ("RuntimeService/PodSandboxStatus", lambda a: msg((1, a["id"]))),
    "pods": ("RuntimeService/ListPodSandbox", lambda a: b""),
    "create": ("RuntimeService/CreateContainer", create),
    "start": ("RuntimeService/StartContainer", lambda a: msg((1, a["id"]))),
    "stop": ("RuntimeService/StopContainer", lambda a: msg((1, a["id"]), (2, int(a.get("grace", 0))))),
    "remove": ("RuntimeService/RemoveContainer", lambda a: msg((1, a["id"]))),
    "container": ("RuntimeService/ContainerStatus", lambda a: msg((1, a["id"]))),
    "containers": ("RuntimeService/ListContainers", lambda a: b""),
    "exec": ("RuntimeService/ExecSync", lambda a: msg((1, a["id"]), *((2, w) for w in ["/bin/sh", "-c", a["command"]]),
                                                     (3, int(a.get("limit", 0))))),
    "images": ("ImageService/ListImages", lambda a: b""),
    "raw": (None, lambda a: b"\0" * int(a["bytes"])),
}


# --- answers

def text(found, number):
    return found.get(number, [b""])[0].decode()


def show_container(f):
    f = fields(f[1][0])
    yield f"state {STATES[f.get(3, [0])[0]]}"
    for name, number in (("created", 4), ("started", 5), ("finished", 6), ("exit_code", 7)):
        yield f"{name} {f.get(number, [0])[0]}"
    yield f"reason {text(f, 10)}"
    yield f"message {text(f, 11)}"


def show_status(f):
    for condition in fields(f[1][0])[1]:
        c = fields(condition)
        yield f"{text(c, 1)} {bool(c.get(2, [0])[0])} {text(c, 4)}"


def show_pod(f):
    f = fields(f[1][0])
    yield "state " + ("NOTREADY" if f.get(3, [0])[0] else "READY")
    yield f"created {f.get(4, [0])[0]}"
    yield "ip " + text(fields(f.get(5, [b''])[0]), 1)


def show_exec(f):
    yield f"exit_code {f.get(3, [0])[0]}"
    yield f"stdout {text(f, 1).rstrip()}"


SHOW = {
    "run_pod": lambda f: [text(f, 1)],
    "create": lambda f: [text(f, 1)],
    "version": lambda f: [text(f, 3)],
    "status": show_status,
    "container": show_container,
    "pod": show_pod,
    "exec": show_exec,
    "pods": lambda f: [f"{text(p, 1)} {text(fields(p[2][0]), 1)} {'NOTREADY' if p.get(3, [0])[0] else 'READY'}"
                       for p in map(fields, f.get(1, []))],
    "containers": lambda f: [f"{text(c, 1)} {text(fields(c[3][0]), 1)} {STATES[c.get(6, [0])[0]]}"
                             for c in map(fields, f.get(1, []))],
}


# --- curl

def request_options(directory, socket, method, args):
    path, make = METHODS[method]
    body = make(args)
    directory.joinpath("request").write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
    lines = ["silent", "http2-prior-knowledge", f'unix-socket = "{socket}"', 'header = "content-type: application/grpc"',
             'header = "te: trailers"', f'data-binary = "@{directory}/request"', f'output = "{directory}/body"',
             f'dump-header = "{directory}/head"', f'url = "http://localhost/runtime.v1.{path or args["path"]}"']
    if "timeout" in args:
        lines.append(f'header = "grpc-timeout: {int(float(args["timeout"]) * 1000)}m"')
    return lines


def answer(directory, method):
    """0 and the lines to print, or another status."""
    try:
        head = directory.joinpath("head").read_text()
    except FileNotFoundError:
        head = ""
    found = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    if "grpc-status" not in found:
        print("no answer", file=sys.stderr)
        return 3, []
    code = int(found["grpc-status"])
    if code:
        print(CODES[code], urllib.parse.unquote(found.get("grpc-message", "")), file=sys.stderr)
        return 1, []
    body = directory.joinpath("body").read_bytes()[5:]
    return 0, list(SHOW.get(method, lambda f: [])(fields(body)))


def call(socket, method, args):
    with tempfile.TemporaryDirectory(prefix="cri.") as name:
        directory = pathlib.Path(name)
        config = directory.joinpath("config")
        config.write_text("\n".join(request_options(directory, socket, method, args)) + "\n")
        subprocess.run(["curl", "--disable", "--config", config], check=False, preexec_fn=die_with_us)
        return answer(directory, method)


def die_with_us():
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG


def main():
    socket, method, *words = sys.argv[1:]
    if method == "each":
        common = dict(word.split("=", 1) for word in words[2:])
        requests = [(words[0], {words[1]: line.strip(), **common}) for line in sys.stdin]
    else:
        requests = [(method, dict(word.split("=", 1) for word in words))]
    worst = 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for status, lines in pool.map(lambda request: call(os.path.abspath(socket), *request), requests):
            worst = max(worst, status)
            for line in lines:
                print(line)
    return worst


if __name__ == "__main__":
    sys.exit(main())
