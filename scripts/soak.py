#!/usr/bin/env python3
"""Five minutes of steady load on three replicas, with one random fault every 20 seconds.

It starts redis-server, the MongoDB engine of the tests (TEST_MONGODB_URL names another), three replicas and an
nginx with deploy/nginx/nginx.conf, all on loopback and in one folder, and ends them however it ends itself. Clients
of both eras call through nginx. It fails when a call fails while nothing is broken, when more than 3 of 100 fail at
all, when a note whose writing was acknowledged is gone, or when memory or open files of a replica grow.

SOAK_SECONDS (300), SOAK_SEED (random, and printed) and BINARY (the debug build) change what is done.
"""

import collections
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = pathlib.Path(os.environ.get("TEST_TOOLS", ROOT / ".tools")) / "bin"
BINARY = os.environ.get("BINARY") or str(
    pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "mcp-notes"
)
SECONDS = int(os.environ.get("SOAK_SECONDS", "300"))
SEED = int(os.environ.get("SOAK_SEED", random.randrange(1 << 32)))
FAULT_EVERY_SECONDS = 20
# A fault lasts for so long, and so long after its end calls may still fail.
FAULT_SECONDS = 4
RECOVERY_SECONDS = 8
CALLERS = 12
PAUSE_SECONDS = 0.25
KEPT_MAX = 10
PATIENCE_SECONDS = 30
FAILED_MAX = 0.03
GROWTH_MAX = 1.3
GROWTH_BYTES = 24 << 20
GROWTH_FILES = 64
NAME = "notes.example.com"
HOST = "127.88.%d.1" % (os.getpid() % 250 + 1)
META = "io.modelcontextprotocol/"


def free_port():
    with socket.socket() as one:
        one.bind((HOST, 0))
        return one.getsockname()[1]


def wait_for(port, what):
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"soak: {what} does not listen")


class Site:
    """Every process, in one folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.redis_port, self.front = free_port(), free_port()
        self.ports = [free_port() for _ in range(3)]
        self.redis = self.nginx = self.engine = None
        self.replicas = [None] * 3

    def start(self):
        self.start_redis()
        self.start_engine()
        for number in range(3):
            self.start_replica(number)
        self.start_nginx()

    def start_redis(self):
        command = [TOOLS / "redis-server", "--bind", HOST, "--port", str(self.redis_port), "--save", "",
                   "--appendonly", "yes", "--protected-mode", "no", "--dir", self.folder]
        self.redis = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(self.redis_port, "redis-server")

    def start_engine(self):
        self.store = os.environ.get("TEST_MONGODB_URL")
        if self.store:
            return
        kept = self.folder / "engine"
        kept.mkdir()
        self.engine = subprocess.Popen([TOOLS / "ferretdb-engine", kept], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.store = self.engine.stdout.readline().strip().rstrip("/") + "/soak"

    def start_replica(self, number):
        folder = self.folder / f"replica-{number}"
        folder.mkdir(exist_ok=True)
        settings = {
            "HOST": HOST, "PORT": str(self.ports[number]), "ALLOW_ANONYMOUS": "true", "ALLOWED_HOSTS": NAME,
            "TRUSTED_PROXIES": "127.0.0.1", "NOTES_STORE": self.store,
            "REDIS_URL": f"redis://{HOST}:{self.redis_port}", "RATE_LIMIT_ANONYMOUS": "0",
            "RATE_LIMIT_SESSIONS": "0", "LOG_LEVEL": "warn",
        }
        with open(folder / "log", "a", encoding="utf-8") as log:
            self.replicas[number] = subprocess.Popen([BINARY, "serve"], cwd=folder, env=settings, stdout=log,
                                                     stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self.ports[number], f"replica {number}")

    def start_nginx(self):
        servers = "\n".join(f"server {HOST}:{port} max_fails=3 fail_timeout=2s;" for port in self.ports)
        text = (ROOT / "deploy/nginx/nginx.conf").read_text(encoding="utf-8")
        begin, end = text.index("    # Plain HTTP leads"), text.index("        recursive_error_pages on;")
        # The site without TLS: it would be tried for its speed here.
        text = text[:begin] + f"server {{ listen {HOST}:{self.front}; server_name {NAME};\n" + text[end:]
        for old, new in [("server mcp-notes:3000 max_fails=3 fail_timeout=2s;", servers),
                         ("/run/nginx.pid", "nginx.pid"), ("/var/log/nginx/", ""), ("1h;", "5s;")]:
            text = text.replace(old, new)
        (self.folder / "nginx.conf").write_text(text, encoding="utf-8")
        command = [TOOLS / "nginx", "-p", self.folder, "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
        self.nginx = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_for(self.front, "nginx")

    def stop(self):
        for process in [self.nginx, *self.replicas, self.redis, self.engine]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in [self.nginx, *self.replicas, self.redis, self.engine]:
            if process:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Caller(threading.Thread):
    """Keeps a note, reads it, lists, deletes an old one, and so on, in a session or without one."""

    def __init__(self, site, number, told):
        super().__init__(daemon=True)
        self.site, self.number, self.told = site, number, told
        self.is_legacy, self.session = number % 2 == 0, None
        self.kept, self.rounds = [], 0

    def run(self):
        while not self.told.is_over.is_set():
            begun, round_ = time.monotonic(), self.rounds
            self.rounds += 1
            try:
                if self.is_legacy and not self.session:
                    self.open()
                self.work(round_)
                failure = None
            except (OSError, http.client.HTTPException, Failed, LookupError, ValueError) as error:
                failure = f"{type(error).__name__}: {error}"
            self.told.note(begun, failure)
            self.told.is_over.wait(PAUSE_SECONDS)

    def work(self, round_):
        # As many notes at the end as after a minute: the engine of the tests reads all of them for a list.
        if len(self.kept) > KEPT_MAX:
            gone, _ = self.kept.pop(0)
            self.tool("delete_note", {"id": gone})
        elif round_ % 3 == 0 or not self.kept:
            title = f"{self.number}/{round_}"
            made = self.tool("create_note", {"title": title, "content": "soaked"})
            self.kept.append((made["id"], title))
        elif round_ % 3 == 1:
            self.tool("get_note", {"id": self.kept[-1][0]})
        else:
            self.tool("list_notes", {"limit": 5})

    def open(self):
        params = {"protocolVersion": "2025-11-25", "capabilities": {},
                  "clientInfo": {"name": "soak", "version": "1"}}
        head, _ = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}, {})
        self.session = head["mcp-session-id"]
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, self.own())

    def own(self):
        return {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": "2025-11-25"}

    def tool(self, name, arguments):
        params, headers = {"name": name, "arguments": arguments}, None
        if self.is_legacy:
            headers = self.own()
        else:
            params["_meta"] = {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {},
                               META + "clientInfo": {"name": "soak", "version": "1"}}
            headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": name}
        body = {"jsonrpc": "2.0", "id": self.rounds, "method": "tools/call", "params": params}
        _, answer = self.post(body, headers)
        result = answer.get("result") or {}
        if result.get("isError") is not False:
            said = result.get("content") or answer.get("error")
            raise Failed(f"{name}: {json.dumps(said)[:200]}")
        return result["structuredContent"]

    def post(self, body, headers):
        connection = http.client.HTTPConnection(HOST, self.site.front, timeout=PATIENCE_SECONDS)
        try:
            headers = {"Host": NAME, "Content-Type": "application/json",
                       "Accept": "application/json, text/event-stream", **headers}
            connection.request("POST", "/mcp", json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status == 404 and self.session:
                self.session = None
            if answer.status not in (200, 202):
                raise Failed(f"{answer.status} {text[:200]}")
            return answer.headers, json.loads(text) if text else {}
        finally:
            connection.close()


class Failed(Exception):
    """An answer that is no success."""


class Told:
    """What callers met, and when something was broken on purpose."""

    def __init__(self):
        self.is_over, self.lock = threading.Event(), threading.Lock()
        self.calls, self.slowest = 0, 0.0
        self.failures, self.faults = [], []

    def note(self, begun, failure):
        now = time.monotonic()
        with self.lock:
            self.calls += 1
            self.slowest = max(self.slowest, now - begun)
            if failure:
                self.failures.append((begun, now, failure))

    def unexcused(self):
        """Failures of calls that no fault can have touched."""
        def touches(begun, ended):
            return any(ended >= start and begun <= end + RECOVERY_SECONDS for start, end in self.faults)
        return [failure for begun, ended, failure in self.failures if not touches(begun, ended)]


def break_something(site, chance):
    """Breaks one thing for a while; what it was."""
    number = chance.randrange(3)
    replica = site.replicas[number]

    def again(name, process, how, start):
        process.send_signal(how)
        process.wait()
        time.sleep(FAULT_SECONDS)
        start()
        return name

    def freeze(name, process):
        process.send_signal(signal.SIGSTOP)
        time.sleep(FAULT_SECONDS)
        process.send_signal(signal.SIGCONT)
        return name

    faults = [
        lambda: again(f"replica {number} killed", replica, signal.SIGKILL, lambda: site.start_replica(number)),
        lambda: again(f"replica {number} restarted", replica, signal.SIGTERM, lambda: site.start_replica(number)),
        lambda: freeze(f"replica {number} frozen", replica),
        lambda: again("redis killed", site.redis, signal.SIGKILL, site.start_redis),
        lambda: freeze("redis frozen", site.redis),
        lambda: (site.nginx.send_signal(signal.SIGHUP), "nginx reloaded")[1],
    ]
    if site.engine:
        faults.append(lambda: freeze("database frozen", site.engine))
    return chance.choice(faults)()


def weigh(site):
    """Memory in bytes and open files of each replica that runs."""
    found = {}
    for replica in site.replicas:
        try:
            status = pathlib.Path(f"/proc/{replica.pid}/status").read_text(encoding="utf-8")
            line = next(it for it in status.splitlines() if it.startswith("VmRSS:"))
            files = len(os.listdir(f"/proc/{replica.pid}/fd"))
            found[replica.pid] = (int(line.split()[1]) << 10, files)
        except (OSError, StopIteration):
            continue
    return found


def grown(weights):
    """Replicas that are larger at the end than half a minute after their start."""
    complaints = []
    for pid, samples in weights.items():
        if len(samples) < 12:
            continue
        (memory, files), (memory_end, files_end) = samples[6], samples[-1]
        if memory_end > memory * GROWTH_MAX + GROWTH_BYTES or files_end > files + GROWTH_FILES:
            complaints.append(f"process {pid}: {memory >> 20} MiB, {files} files -> {memory_end >> 20} MiB, {files_end} files")
    return complaints


def soak(site):
    chance, told = random.Random(SEED), Told()
    callers = [Caller(site, number, told) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    weights, begun, next_fault = collections.defaultdict(list), time.monotonic(), FAULT_EVERY_SECONDS
    while (passed := time.monotonic() - begun) < SECONDS:
        if passed >= next_fault and passed < SECONDS - FAULT_EVERY_SECONDS:
            next_fault += FAULT_EVERY_SECONDS
            start = time.monotonic()
            # Open until it is over.
            told.faults.append((start, float("inf")))
            what = break_something(site, chance)
            told.faults[-1] = (start, time.monotonic())
            print(f"{passed:4.0f} s  {what}; {told.calls} calls, {len(told.failures)} failed so far", flush=True)
        for pid, weight in weigh(site).items():
            weights[pid].append(weight)
        time.sleep(5)
    told.is_over.set()
    for caller in callers:
        caller.join(PATIENCE_SECONDS)
    reader = Caller(site, 1, told)
    kept = [note for caller in callers for note in caller.kept]
    lost = [note for note in kept if reader.tool("get_note", {"id": note[0]})["title"] != note[1]]
    return told, kept, lost, grown(weights)


def main():
    print(f"soak: {SECONDS} s, SOAK_SEED={SEED}")
    with tempfile.TemporaryDirectory() as folder:
        site = Site(folder)
        try:
            site.start()
            told, kept, lost, complaints = soak(site)
        finally:
            site.stop()
    kinds = collections.Counter(failure[:160] for _, _, failure in told.failures)
    for failure, count in kinds.most_common(20):
        print(f"{count:5}  {failure}")
    unexcused = told.unexcused()
    complaints += [f"while nothing was broken: {failure}" for failure in unexcused[:10]]
    complaints += [f"lost: {note}" for note in lost[:10]]
    if len(told.failures) > told.calls * FAILED_MAX:
        complaints.append("too many calls failed")
    print(f"soak: {told.calls} calls, {len(told.failures)} failed, {len(unexcused)} of them while nothing was broken, "
          f"slowest {told.slowest:.1f} s, {len(kept)} notes kept, {len(lost)} lost")
    for complaint in complaints:
        print(f"soak: {complaint}")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
