"""Drives the server with the official Python SDK 2.x, in both eras: `drive.py URL [--era modern|legacy]`."""

import argparse
import logging
import sys
import warnings
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
from mcp import MCPDeprecationWarning
from mcp_types import ResourceListChangedNotification, ResourceUpdatedNotification

sys.path.insert(0, str(Path(__file__).parent))

import changes
import notes
import reading
from runner import Runner, expect
from scene import Scene

ERAS = {"modern": "2026-07-28", "legacy": "2025-11-25"}


async def tell(url: str, era: str, runner: Runner) -> None:
    """Tells the whole story in one era."""
    scene = Scene(url, era, runner)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(scene.http())

        async def connect() -> str:
            client = scene.connection(http, message_handler=None if scene.modern else notice(scene))
            scene.client = await stack.enter_async_context(client)
            expect(client.protocol_version == ERAS[era], f"revision {ERAS[era]}", client.protocol_version)
            return client.protocol_version

        if not await scene.step("connect", connect, None):
            return
        await scene.step("server info and capabilities", lambda: capabilities(scene))
        await notes.tell(scene)
        if not scene.made:
            # The rest could only fail for the same reason.
            return
        await reading.tell(scene)
        await changes.tell(scene)
        if not scene.modern:
            await scene.step("ping", lambda: ping(scene))
        await scene.step("tidying up", lambda: tidy_up(scene))
    await scene.step("leaving", lambda: leave(scene))


def notice(scene: Scene):
    """A handler that keeps the notifications of the older revisions."""

    async def handler(message) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            scene.notices.push(str(message.params.uri))
        elif isinstance(message, ResourceListChangedNotification):
            scene.notices.push(changes.LISTED)

    return handler


async def capabilities(scene: Scene) -> str:
    info = scene.client.server_info
    expect(info is not None and info.name and info.version, "a name and a version", info)
    caps = scene.client.server_capabilities
    expect(caps.tools and caps.prompts and caps.completions, "tools, prompts, completions", caps)
    expect(caps.resources and caps.resources.subscribe, "resources.subscribe", caps)
    expect(caps.resources and caps.resources.list_changed, "resources.listChanged", caps)
    expect(caps.logging is None, "no logging capability, which is deprecated", caps)
    return f"{info.name} {info.version}"


async def ping(scene: Scene) -> None:
    await scene.client.send_ping()


async def tidy_up(scene: Scene) -> str:
    count = len(scene.made)
    for note_id in scene.made:
        await scene.call("delete_note", id=note_id)
    return f"{count} notes deleted"


async def leave(scene: Scene) -> None:
    """The connection is closed by now; a session must be gone with it."""
    sessions = {answer["session"] for answer in scene.answers.items} - {None}
    if scene.modern:
        expect(not sessions, "no session id", list(sessions))
        return
    deleted = [answer["status"] for answer in scene.answers.items if answer["method"] == "DELETE"]
    expect(deleted and all(200 <= status < 300 for status in deleted), "DELETE answered with 2xx", deleted)
    for session in sessions:
        async with httpx2.AsyncClient(timeout=5) as http:
            answer = await http.post(
                scene.url,
                json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
                headers={
                    "accept": "application/json, text/event-stream",
                    "mcp-protocol-version": ERAS["legacy"],
                    "mcp-session-id": session,
                },
            )
        expect(answer.status_code == 404, "status 404 for the ended session", (answer.status_code, answer.text))


def main() -> int:
    """Reads the command line and gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--era", choices=list(ERAS))
    parser.add_argument("--seconds", type=float, default=30, help="for each era")
    options = parser.parse_args()
    # The methods of the older revisions are marked as deprecated, and they are what is tried here.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    # The SDK logs a notification that comes while it closes its streams as an error; it is none.
    logging.getLogger("mcp.client.streamable_http").setLevel(logging.CRITICAL)
    eras = [options.era] if options.era else list(ERAS)
    runner = Runner(options.seconds * len(eras))

    async def run() -> None:
        for era in eras:
            await tell(options.url, era, runner)

    try:
        anyio.run(run)
    except Exception as error:
        runner.fail(runner.current, "no error outside of a step", error)
    return runner.finish()


if __name__ == "__main__":
    sys.exit(main())
