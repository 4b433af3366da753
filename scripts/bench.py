#!/usr/bin/env python3
"""A first figure: how many calls a second one connection gets from a release build on this machine.

It starts target/release/mcp-notes (BINARY names another) on a free port with a store of its own, makes
notes and reads them over one keep-alive connection, and prints requests a second and CPU time of the server.
One connection in Python measures the client as much as the server: take it as a check that nothing has become
many times slower, and not as a comparison.
"""

import http.client
import json
import os
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("BINARY") or str(
    pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "mcp-notes"
)
CALLS = 2000
META = "io.modelcontextprotocol/"


def call(connection, name, arguments):
    """One tools/call of revision 2026-07-28; the structured content of its answer."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": name,
            "arguments": arguments,
            "_meta": {
                META + "protocolVersion": "2026-07-28",
                META + "clientInfo": {"name": "bench", "version": "1"},
                META + "clientCapabilities": {},
            },
        },
    }
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    connection.request("POST", "/mcp", json.dumps(body), headers)
    answer = json.load(connection.getresponse())
    return answer["result"]["structuredContent"]


def cpu_seconds(pid):
    """User and system time that a process has taken."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid, label, work):
    """Does `work` CALLS times and prints what it took."""
    cpu, begun = cpu_seconds(pid), time.perf_counter()
    for number in range(CALLS):
        work(number)
    took = time.perf_counter() - begun
    cpu = cpu_seconds(pid) - cpu
    print(f"{label:12} {CALLS / took:8.0f} calls/s   {cpu / CALLS * 1e6:6.0f} us CPU of the server per call")


def main():
    with tempfile.TemporaryDirectory() as folder:
        settings = {"PORT": "0", "RATE_LIMIT_ANONYMOUS": "0", "LOG_FORMAT": "json", "NOTES_STORE": f"sqlite:{folder}/notes.db"}
        server = subprocess.Popen([BINARY, "serve"], env=settings, stdout=subprocess.PIPE, text=True)
        try:
            address = json.loads(server.stdout.readline())["address"]
            # The pipe of the log must not fill up.
            subprocess.Popen(["cat"], stdin=server.stdout, stdout=subprocess.DEVNULL)
            connection = http.client.HTTPConnection(address)
            ids = []
            text = "x" * 1000
            measure(server.pid, "create_note", lambda n: ids.append(
                call(connection, "create_note", {"title": f"Note {n}", "content": text})["id"]))
            measure(server.pid, "get_note", lambda n: call(connection, "get_note", {"id": ids[n]}))
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main()
