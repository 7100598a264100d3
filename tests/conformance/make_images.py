#!/usr/bin/python3
"""The images that critest asks for, made from this machine's own programs, as one OCI image layout.

usage: make_images.py OUTDIR     needs busybox-static, bash, nginx-light, gcc

Writes OUTDIR (an OCI layout with one named manifest per image) and OUTDIR/names, one REPOSITORY:TAG a line. What critest
expects of each image stands beside it. Two facts decide the shape of the base layer: applets are hard links of busybox, and
/bin/sh is bash: a busybox shell runs its applets without looking at the file system, so that a masked /bin/ls would still run,
and dash does not become its only command, so that `sh -c top` would not hear of a signal.
"""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

MTIME = 1700000000
ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
OCI = "application/vnd.oci.image."


class Layout:
    def __init__(self, where):
        self.where = pathlib.Path(where)
        self.blobs = self.where / "blobs" / "sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.index = []

    def put(self, kind, data):
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}

    def image(self, name, layers, **config):
        diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
        document = {"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
                    "config": {"Env": ENV, **config}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                    "config": self.put("config.v1+json", json.dumps(document).encode()),
                    "layers": [self.put("layer.v1.tar+gzip", gzip.compress(layer, 6, mtime=0)) for layer in layers]}
        entry = self.put("manifest.v1+json", json.dumps(manifest).encode())
        entry["annotations"] = {"org.opencontainers.image.ref.name": name}
        entry["platform"] = {"architecture": "amd64", "os": "linux"}
        self.index.append(entry)

    def finish(self):
        (self.where / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.index}))
        (self.where / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in self.index]
        (self.where / "names").write_text("".join(name + "\n" for name in names))


class Tree:
    """One layer being written; @below: shared libraries that the layers under it have."""

    def __init__(self, below=()):
        self.below = set(below)
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, path, mode=0o644, data=b"", kind=tarfile.REGTYPE, link=""):
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode, entry.linkname, entry.mtime = kind, mode, link, MTIME
        if kind == tarfile.REGTYPE:
            entry.size = len(data)
            self.tar.addfile(entry, io.BytesIO(data))
        else:
            self.tar.addfile(entry)
        return self

    def directory(self, path, mode=0o755):
        return self.add(path + "/", mode, kind=tarfile.DIRTYPE)

    def hard_link(self, path, target):
        return self.add(path, 0o755, kind=tarfile.LNKTYPE, link=target)

    def program(self, path):
        """A program of this machine with the libraries it is linked to."""
        self.add(path, 0o755, pathlib.Path(path).read_bytes())
        for library in re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", path], text=True)):
            if library not in self.below:
                self.below.add(library)
                self.add(library, 0o755, pathlib.Path(os.path.realpath(library)).read_bytes())
        return self

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


def compiled(source):
    with tempfile.TemporaryDirectory() as scratch:
        code, program = os.path.join(scratch, "p.c"), os.path.join(scratch, "p")
        pathlib.Path(code).write_text(source)
        subprocess.check_call(["gcc", "-static", "-Os", "-s", "-o", program, code])
        return pathlib.Path(program).read_bytes()


def base_tree():
    tree = Tree()
    for path, mode in (("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o755), ("root", 0o700),
                       ("sys", 0o755), ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("var", 0o755), ("www", 0o755)):
        tree.directory(path, mode)
    tree.add("bin/busybox", 0o755, pathlib.Path("/bin/busybox").read_bytes())
    for applet in subprocess.check_output(["/bin/busybox", "--list"], text=True).split():
        if applet not in ("busybox", "sh"):
            tree.hard_link("bin/" + applet, "bin/busybox")
    tree.program("/bin/bash")
    tree.hard_link("bin/sh", "bin/bash")
    # busybox has neither under the names and options that critest uses
    tree.add("bin/pgrep", 0o755, b'#!/bin/sh\nexec pidof "$@"\n')
    tree.add("bin/ipcs", 0o755, b"#!/bin/sh\nexec awk '{ print $1, $2 }' /proc/sysvipc/shm\n")
    users = [("root", 0, "/root", "/bin/sh"), ("daemon", 1, "/usr/sbin", "/bin/false"), ("www-data", 33, "/var/www", "/bin/false"),
             ("nobody", 65534, "/home", "/bin/false"), ("default-user", 1000, "/home/default-user", "/bin/sh")]
    tree.add("etc/passwd", 0o644, "".join(f"{n}:x:{i}:{i}::{h}:{s}\n" for n, i, h, s in users).encode())
    # the supplemental groups specs read this group of the image
    groups = [f"{n}:x:{i}:\n" for n, i, _, _ in users] + ["group-defined-in-image:x:50000:default-user\n"]
    tree.add("etc/group", 0o644, "".join(groups).encode())
    tree.add("etc/shadow", 0o640, b"root:*:::::::\n")  # the mount specs look for it
    tree.add("www/index.html", 0o644, b"<html><body>It works</body></html>\n")
    return tree


def web_server(below, port):
    tree = Tree(below)
    for path in ("var/lib", "var/lib/nginx", "var/log", "var/log/nginx", "var/run", "run"):
        tree.directory(path)
    tree.program("/usr/sbin/nginx")
    tree.add("etc/nginx/nginx.conf", 0o644,
             ("user www-data www-data; worker_processes 1; pid /var/run/nginx.pid; error_log stderr; events {}"
              f" http {{ access_log off; server {{ listen {port}; root /www; }} }}").encode())
    return tree.bytes()


def main():
    layout = Layout(sys.argv[1])
    tree = base_tree()
    libraries = set(tree.below)
    base = tree.bytes()
    pause = compiled("#include <signal.h>\n#include <sys/wait.h>\n#include <unistd.h>\n"
                     "static void leave(int s) { (void)s; _exit(0); }\n"
                     "static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) ; }\n"
                     "int main(void) { signal(SIGINT, leave); signal(SIGTERM, leave); signal(SIGCHLD, reap); for (;;) pause(); }\n")
    # prints what no_new_privs decides about
    setuid = compiled('#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("Effective uid: %d\\n", (int)geteuid()); }\n')

    for tag in ("1.29-2", "1.29-4"):
        layout.image("e2e-test-images/busybox:" + tag, [base], Cmd=["sh"])
    web = {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}}
    layout.image("e2e-test-images/nginx:1.14-2", [base, web_server(libraries, 80)], **web)
    layout.image("k8s-staging-cri-tools/hostnet-nginx-amd64:latest", [base, web_server(libraries, 12003)], **web)
    # must print a line first: the attach and log specs wait for output
    layout.image("e2e-test-images/httpd:2.4.39-4", [base], ExposedPorts={"80/tcp": {}},
                 Cmd=["sh", "-c", "echo httpd starting; exec httpd -f -v -p 80 -h /www"])
    layout.image("e2e-test-images/nonewprivs:1.3", [Tree().add("nnp", 0o4755, setuid).bytes()], Entrypoint=["/nnp"])
    for tag in ("3.9", "3.10", "3.10.1", "3.10.2"):  # each must be an image of its own
        layers = [Tree().add("pause", 0o755, pause).bytes(), Tree().add("tag", 0o644, tag.encode()).bytes()]
        layout.image("pause:" + tag, layers, Entrypoint=["/pause"])
    for name, user in (("user-uid", "1002"), ("user-username", "www-data"), ("user-uid-group", "1003:1003"),
                       ("user-username-group", "www-data:www-data"), ("predefined-group", "1000")):
        layout.image(f"k8s-staging-cri-tools/test-image-{name}:latest", [base], Cmd=["sh"], User=user)
    for name in ("latest:latest", "tag:test", "tag:all", "digest:latest", "1:latest", "2:latest", "3:latest"):
        layers = [base, Tree().add("id", 0o644, name.encode()).bytes()]
        layout.image("k8s-staging-cri-tools/test-image-" + name, layers, Cmd=["sh"])
    for tag in "123":  # three tags of one image
        layers = [base, Tree().add("id", 0o644, b"tags").bytes()]
        layout.image("k8s-staging-cri-tools/test-image-tags:" + tag, layers, Cmd=["sh"])
    layout.finish()


main()
