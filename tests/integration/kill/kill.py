#!/usr/bin/python3
"""The real daemon, killed. Needs root, crun, CNI's bridge and host-local, busybox-static, gcc, curl.

usage: kill.py [points|churn|monitors]...   (all); the last line is `N passed, N failed`

points    A pod with a container is run, watched, and removed. killat.c kills the daemon at the n-th fdatasync, fsync, rename, mount,
          umount, unshare or execve that its threads or forks make on the way; another is started and the client goes on. Every n up
          to the count of a dry run, or as many as fit into KILL_SECONDS (90): then a seeded choice (KILL_SEED).
churn     KILL_CHURN (100) kills at random times while two clients do the same over and over.
monitors  A container's monitor is killed, with and without a daemon.

Checked after each: nothing that was answered is lost, exit codes are right, logs complete; in the end no mount, namespace, address,
cgroup, process or file is left.
"""
import importlib.util
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[2]
CORACLE = os.environ.get("CORACLE", str(TOP / "build/coracle"))
IMAGE = "test.local/busybox:1"
SECONDS = float(os.environ.get("KILL_SECONDS", "90"))
CHURN = int(os.environ.get("KILL_CHURN", "100"))
SEED = int(os.environ.get("KILL_SEED", "20251125"))

spec = importlib.util.spec_from_file_location("cri", HERE.parent / "baddays/cri.py")
cri = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cri)


class Bad(Exception):
    """What must not be."""


class NoAnswer(Exception):
    """The daemon went away."""


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Node:
    """A place with a daemon that comes and goes."""

    def __init__(self, base, name):
        self.dir = pathlib.Path(base, name)
        self.root, self.state, self.logs = self.dir / "root", self.dir / "state", self.dir / "logs"
        self.logs.mkdir(parents=True)
        self.log = self.dir / "daemon.log"
        self.cgroup = f"/kill-{os.getpid()}-{name}"
        self.process = self.daemon = None
        conf = self.dir / "conf"
        conf.write_text(f"[runtime]\ndefault = crun\n[runtime crun]\n[cni]\nconf_dir = {self.dir}/net.d\nbin_dirs = /opt/cni/bin:/usr/lib/cni\n")
        self.argv = [CORACLE, "daemon", "-c", str(conf), "--root", str(self.root), "--state", str(self.state), "--log-level", "debug"]

    def start(self, killat=None, n=0):
        argv = [killat, str(self.dir / "counts"), str(n)] + self.argv if killat else self.argv
        with open(self.log, "ab") as log:
            log.write(f"=== start {n}\n".encode())
            log.flush()
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def serve(self):
        """A daemon that answers; for when it died, or when nobody knows."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.wait_ready()

    def wait_ready(self, seconds=30, killed=False):
        """With @killed it may die on the way; nobody else does."""
        end = time.monotonic() + seconds
        starts = 0
        while time.monotonic() < end:
            try:
                self.call("pods")
                return
            except NoAnswer:
                if self.process.poll() is not None:
                    if killed:
                        raise
                    starts += 1
                    if starts > 2:
                        raise Bad(f"the daemon ends by itself, status {self.process.returncode}") from None
                    self.start()
            except Refused as e:
                if e.code != "UNAVAILABLE":
                    raise
            time.sleep(0.02)
        raise Bad("a daemon does not become ready")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def call(self, method, **args):
        with tempfile.TemporaryDirectory(prefix="kill.") as name:
            directory = pathlib.Path(name)
            config = directory / "config"
            lines = cri.request_options(directory, self.state / "coracle.sock", method, args)
            config.write_text("\n".join(lines) + "\n")
            subprocess.run(["curl", "--disable", "--max-time", "60", "--config", config], check=False, stderr=subprocess.DEVNULL)
            try:
                head = (directory / "head").read_text()
            except FileNotFoundError:
                raise NoAnswer from None
            found = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
            if "grpc-status" not in found:
                raise NoAnswer
            if int(found["grpc-status"]):
                raise Refused(cri.CODES[int(found["grpc-status"])], urllib.parse.unquote(found.get("grpc-message", "")))
            body = (directory / "body").read_bytes()[5:]
            return list(cri.SHOW.get(method, lambda f: [])(cri.fields(body)))

    def status(self, kind, id_):
        return dict(line.split(" ", 1) if " " in line else (line, "") for line in self.call(kind, id=id_))

    def import_image(self, tar):
        subprocess.run([CORACLE, "ctl", "--address", str(self.state / "coracle.sock"), "import", tar], check=True, stdout=subprocess.DEVNULL)

    # --- what is left

    def processes(self):
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                groups = (entry / "cgroup").read_text()
            except OSError:
                continue
            if (str(self.dir) in text or self.cgroup in groups) and int(entry.name) not in (os.getpid(), self.process and self.process.pid):
                found.append(f"process {entry.name} {text[:120]}")
        return found

    def leftovers(self):
        out = subprocess.run([TOP / "tests/conformance/leftovers.sh", self.root, self.state], capture_output=True, text=True).stdout
        found = out.splitlines() + self.processes()
        for base, dirs, _ in os.walk("/sys/fs/cgroup"):
            if base.count("/") > 5:
                dirs.clear()
            found += [f"cgroup {base}/{d}" for d in dirs if self.cgroup[1:] in base + d and d != self.cgroup[1:]]
        return found

    def expect_clean(self):
        end = time.monotonic() + 10
        while (left := self.leftovers()) and time.monotonic() < end:
            time.sleep(0.1)
        if left:
            raise Bad("left over:\n  " + "\n  ".join(left[:20]))

    def cleanup(self):
        self.stop()
        for line in self.processes():
            os.kill(int(line.split()[1]), signal.SIGKILL)
        subprocess.run([TOP / "tests/conformance/leftovers.sh", "--remove", self.root, self.state], check=False)
        for base, dirs, _ in os.walk("/sys/fs/cgroup", topdown=False):
            for d in dirs:
                if self.cgroup[1:] in base + d:
                    try:
                        os.rmdir(f"{base}/{d}")
                    except OSError:
                        pass


class Client:
    """kubelet with one pod: asks again for what was not answered, and believes what was."""

    def __init__(self, node, name, code=7):
        self.node, self.name, self.code = node, name, code
        self.pod = self.container = None
        self.started = self.exited = self.refused = False

    def ask(self, method, **args):
        """To an answer, through as many daemons as it takes."""
        while True:
            try:
                return self.node.call(method, **args)
            except NoAnswer:
                self.recover()
            except Refused as e:
                if e.code != "UNAVAILABLE" or "not initialized" not in str(e):
                    raise
                time.sleep(0.02)

    def recover(self):
        """Somebody starts the next daemon; is all still there?"""
        self.node.serve()
        self.check()

    def check(self):
        """Nothing that was answered is lost."""
        try:
            if self.pod:
                pod = self.node.status("pod", self.pod)
                if pod["state"] != "READY" and not self.refused:
                    raise Bad(f"{self.name}: pod was told to be ready, is {pod['state']}")
            if self.container:
                self.check_container(self.node.status("container", self.container))
        except Refused as e:
            if e.code == "UNAVAILABLE":
                return
            raise Bad(f"{self.name}: was told to exist: {e}") from None
        except NoAnswer:
            return  # killed again: the next one is asked

    def check_container(self, c):
        if self.started and c["state"] == "CREATED":
            raise Bad(f"{self.name}: was told to have started, is only created")
        if self.exited and c["state"] != "EXITED":
            raise Bad(f"{self.name}: was told to have exited, is {c['state']}")
        if c["state"] == "EXITED" and self.started and int(c["exit_code"]) != self.code:
            raise Bad(f"{self.name}: exited {c['exit_code']} ({c['reason']}: {c['message']}), should be {self.code}")

    def run(self, command, gone=()):
        self.pod = self.ask("run_pod", name=self.name, cgroup=self.node.cgroup, logs=str(self.node.logs), **dict(gone))[0]
        self.container = self.ask("create", pod=self.pod, name="c", image=IMAGE, command=command, log=f"{self.name}.log",
                                  logs=str(self.node.logs))[0]
        try:
            self.ask("start", id=self.container)
            self.started = True
        except Refused:
            # a start that the kill interrupted is not repeated: it ran, or it is told to have failed
            c = dict(line.split(" ", 1) if " " in line else (line, "") for line in self.ask("container", id=self.container))
            if c["state"] == "CREATED":
                raise
            self.started = c["state"] == "RUNNING" or int(c["exit_code"]) == self.code
            if not self.started and c["reason"] not in ("StartError", "Unknown"):
                raise Bad(f"{self.name}: interrupted start ended {c}") from None

    def status(self):
        return dict(line.split(" ", 1) if " " in line else (line, "") for line in self.ask("container", id=self.container))

    def wait_exit(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            c = self.status()
            if c["state"] == "EXITED":
                self.check_container(c)
                self.exited = True
                return c
            time.sleep(0.03)
        raise Bad(f"{self.name}: never seen to exit")

    def expect_log(self, words):
        text = (self.node.logs / f"{self.name}.log").read_text().split("\n")
        got = [line.split(" ", 3)[3] for line in text if line.count(" ") >= 3]
        if got != words:
            raise Bad(f"{self.name}: the log holds {got}, should be {words}")

    def remove(self):
        self.refused = True
        container, self.container = self.container, None
        if container:
            self.ask("stop", id=container)
            self.ask("remove", id=container)
        pod, self.pod = self.pod, None
        if pod:
            self.ask("stop_pod", id=pod)
            self.ask("remove_pod", id=pod)

    def life(self, seconds):
        command = f"echo one; sleep {seconds}; echo two; exit {self.code}"
        self.run(command)
        c = self.wait_exit()
        if self.started and int(c["exit_code"]) == self.code:
            self.expect_log(["one", "two"])
        self.remove()


def nothing_listed(node):
    for kind in ("pods", "containers"):
        if lines := node.call(kind):
            raise Bad(f"{kind} are left: {lines}")


# --- tests

def one_point(base, tar, killat, n):
    """False: the n-th call was not reached."""
    node = Node(base, f"p{n}")
    try:
        node.start()
        node.wait_ready()
        node.import_image(tar)
        node.stop()
        node.start(killat, n)
        try:
            node.wait_ready(killed=True)
        except NoAnswer:
            pass
        Client(node, f"pod{n}").life(0.1)
        reached = node.process.args[0] != killat or node.process.poll() is not None
        node.serve()
        nothing_listed(node)
        node.stop()
        if n == 0:
            return (node.dir / "counts").read_text().split("total ")[-1].strip()
        # one more start finds nothing to do
        node.start()
        node.wait_ready()
        nothing_listed(node)
        node.expect_clean()
        return reached
    except Bad as e:
        log = node.log.read_text(errors="replace")[-6000:]
        raise Bad(f"{e}\n--- daemon\n{log}") from None
    finally:
        node.cleanup()


def points(base, tar, killat):
    total = int(one_point(base, tar, killat, 0))
    calls = [line.split() for line in pathlib.Path(base, "p0/counts").read_text().splitlines() if line[0].isdigit()]
    kinds = {}
    for _, name in calls:
        kinds[name] = kinds.get(name, 0) + 1
    order = list(range(1, total + 1))
    random.Random(SEED).shuffle(order)
    begin, tried, missed, failed = time.monotonic(), 0, 0, []
    for n in order:
        if time.monotonic() - begin > SECONDS:
            break
        tried += 1
        try:
            missed += not one_point(base, tar, killat, n)
            shutil.rmtree(pathlib.Path(base, f"p{n}"), ignore_errors=True)
        except Bad as e:
            failed.append(n)
            print(f"killed at {n} of {total}: {e}")
    print(f"points: {total} calls ({', '.join(f'{v} {k}' for k, v in sorted(kinds.items()))}); {tried} tried"
          + (f", a choice of {tried / total:.0%}, seed {SEED}" if tried < total else "") + f"; {missed} not reached again")
    if failed:
        raise Bad(f"failed at {failed}")
    if missed > tried / 2:
        raise Bad("most of the points were not reached: the harness is blind")


def churn(base, tar, _):
    node = Node(base, "churn")
    pauses = random.Random(SEED)
    lock, stop, done, bad = threading.Lock(), threading.Event(), [0], []
    serve = node.serve

    def serve_once():  # one of the clients starts the next daemon
        with lock:
            serve()

    def worker(who):
        i = 0
        while not stop.is_set() and not bad:
            i += 1
            try:
                Client(node, f"w{who}-{i}", code=10 + who).life(pauses.choice(["0", "0.1", "0.5"]))
                done[0] += 1
            except (Bad, Refused, OSError) as e:
                bad.append(f"worker {who}, pod {i}: {e!r}")

    try:
        node.start()
        node.wait_ready()
        node.import_image(tar)
        node.serve = serve_once
        threads = [threading.Thread(target=worker, args=(w,)) for w in range(2)]
        for t in threads:
            t.start()
        for _ in range(CHURN):
            time.sleep(0.1 + 1.4 * pauses.random())
            with lock:
                node.kill()
                node.start()
            if bad:
                break
        stop.set()
        for t in threads:
            t.join(90)
        if bad or any(t.is_alive() for t in threads):
            raise Bad("; ".join(bad) or "a client does not come to an end")
        node.wait_ready()
        nothing_listed(node)
        node.kill()
        node.start()
        node.wait_ready()
        node.expect_clean()
        print(f"churn: {CHURN} kills, {done[0]} pods lived and died")
        if done[0] < 3:
            raise Bad("nothing was done in between: the harness is blind")
    except Bad as e:
        raise Bad(f"{e}\n--- daemon\n{node.log.read_text(errors='replace')[-6000:]}") from None
    finally:
        stop.set()
        node.cleanup()


def monitor_pid(client):
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes().replace(b"\0", b" ").strip() == f"coracle-monitor {client.container}".encode():
                return int(entry.name)
        except OSError:
            pass
    raise Bad(f"{client.name} has no monitor")


def monitors(base, tar, _):
    node = Node(base, "monitors")
    try:
        node.start()
        node.wait_ready()
        node.import_image(tar)
        # while the daemon looks on, and while it does not
        for name, alone in (("seen", False), ("alone", True)):
            client = Client(node, name, code=9)
            client.run("trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done")
            init = int(re.search(r'"pid": *(\d+)', subprocess.run(["crun", "--root", node.state / "runtime", "state", client.container],
                                                                  capture_output=True, text=True).stdout).group(1))
            if alone:
                node.kill()
            os.kill(monitor_pid(client), signal.SIGKILL)
            time.sleep(0.2)
            if alone:
                node.serve()
            c = client.status()
            if c["state"] != "RUNNING":
                raise Bad(f"{name}: its monitor died, and it is told to be {c}")
            os.kill(init, signal.SIGUSR1)
            c = client.wait_exit()
            if "monitor" not in c["message"]:
                raise Bad(f"{name}: nothing tells that its monitor was killed: {c}")
            # exited while nobody looked on at all: nobody can know
            client.remove()
        client = Client(node, "blind", code=255)
        client.run("while :; do sleep 0.05; done")
        init = monitor_pid(client)
        node.kill()
        os.kill(init, signal.SIGKILL)
        for pid in {int(p) for f in pathlib.Path("/sys/fs/cgroup").glob(f"*{node.cgroup}/{client.container}/cgroup.procs")
                    for p in f.read_text().split()}:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
        node.serve()
        c = client.wait_exit()
        if c["reason"] != "Unknown":
            raise Bad(f"blind: ended unseen, and is told to be {c}")
        client.remove()
        nothing_listed(node)
        node.expect_clean()
        print("monitors: adopted, and the truth is told")
    except Bad as e:
        raise Bad(f"{e}\n--- daemon\n{node.log.read_text(errors='replace')[-6000:]}") from None
    finally:
        node.cleanup()


def make_image(base):
    lib = HERE.parent / "baddays/lib.sh"
    script = f'. {lib}; work={base}/image.d/x; mkdir -p $work; make_image'
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def main():
    if os.getuid() != 0:
        sys.exit("needs root")
    subprocess.run([TOP / "tests/conformance/host.sh"], check=True)
    base = tempfile.mkdtemp(prefix="coracle-kill.", dir="/tmp")
    passed = failed = 0
    killat = f"{base}/killat"
    subprocess.run(["gcc", "-O2", "-o", killat, HERE / "killat.c"], check=True)
    tar = make_image(base)
    tests = {"points": points, "churn": churn, "monitors": monitors}
    for name in sys.argv[1:] or tests:
        begin = time.monotonic()
        try:
            tests[name](base, tar, killat)
            passed += 1
            print(f"ok      {name} ({time.monotonic() - begin:.0f} s)", flush=True)
        except Bad as e:
            failed += 1
            print(f"FAILED  {name} ({time.monotonic() - begin:.0f} s): {e}", flush=True)
    if not failed:
        shutil.rmtree(base, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or not passed)


if __name__ == "__main__":
    main()
