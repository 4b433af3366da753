"""What the steps of the story share: connections, what they leave for one another, and the ways to call."""

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urljoin

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from runner import Inbox, Mismatch, Runner, expect, show

REQUEST_SECONDS_MAX = 8


class Scene:
    """One run of the story in one era."""

    client: Client
    """The connection the story is told over, once it is open."""
    note: dict[str, Any]
    """The note the story is about, once it is made."""
    prompts: list[types.Prompt]
    """The prompts, once they are listed."""

    def __init__(self, url: str, era: str, runner: Runner) -> None:
        self.url = url
        self.era = era
        self.modern = era == "modern"
        self.runner = runner
        self.tag = f"drive-{uuid.uuid4().hex[:8]}"
        self.made: list[str] = []
        self.answers = Inbox()
        self.notices = Inbox()

    async def step(self, name: str, body: Callable[[], Awaitable[Any]], seconds: float | None = 10) -> bool:
        """Runs a step under a name that says which SDK and era it is."""
        return await self.runner.step(f"py-sdk {self.era} {name}", body, seconds)

    def connection(self, http: httpx2.AsyncClient, **more: Any) -> Client:
        """A client of this era that is not connected yet."""
        return Client(
            streamable_http_client(self.url, http_client=http),
            mode="auto" if self.modern else "legacy",
            client_info=types.Implementation(name="py-sdk", version="2"),
            read_timeout_seconds=REQUEST_SECONDS_MAX,
            **more,
        )

    def http(self) -> httpx2.AsyncClient:
        """An HTTP client that records what was answered to what."""

        async def record(response: httpx2.Response) -> None:
            self.answers.push(
                {
                    "method": response.request.method,
                    "status": response.status_code,
                    "type": response.headers.get("content-type", ""),
                    "session": response.headers.get("mcp-session-id"),
                }
            )

        return httpx2.AsyncClient(timeout=httpx2.Timeout(30, read=300), event_hooks={"response": [record]})

    async def call(self, name: str, client: Client | None = None, **arguments: Any) -> dict[str, Any]:
        """Calls a tool that must succeed and gives its structured content."""
        result = await (client or self.client).call_tool(name, arguments)
        expect(not result.is_error, f"{name} to succeed", text_of(result.content))
        expect(isinstance(result.structured_content, dict), f"{name} to give structuredContent", result)
        expect(same(text_of(result.content), result.structured_content), f"{name} to give the same as text", result)
        return result.structured_content or {}

    async def make(self, title: str, content: str = ".", client: Client | None = None, **more: Any) -> dict[str, Any]:
        """Makes a note that is deleted at the end."""
        note = await self.call("create_note", client, title=title, content=content, **{"tags": [self.tag], **more})
        self.made.append(note["id"])
        return note

    async def refused(self, name: str, arguments: dict[str, Any], pattern: str) -> str:
        """Calls a tool whose result must be an error that the model can read, with a text that matches."""
        what = f"{name} {show(arguments, 200)}"
        try:
            result = await self.client.call_tool(name, arguments)
        except MCPError as error:
            raise Mismatch(f"{what} to give a result with isError", error) from error
        text = text_of(result.content)
        expect(result.is_error, f"{what} to give isError", result)
        expect(re.search(pattern, text), f"the error of {what} to match {pattern}", text)
        return text.split("\n")[0]

    async def protocol_error(self, code: int, what: str, request: Awaitable[Any]) -> MCPError:
        """Awaits a request that must fail with a JSON-RPC error of this code."""
        try:
            result = await request
        except MCPError as error:
            expect(error.code == code, f"{what} to fail with code {code}", error)
            return error
        raise Mismatch(f"{what} to fail with code {code}", result)

    async def rest(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        """A request to the REST API of the same server."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with httpx2.AsyncClient(timeout=5) as http:
            url = urljoin(self.url, f"/api/v1/notes{path}")
            return await http.request(method, url, json=body, headers={"content-type": kind} if body else None)


def same(text: str, value: Any) -> bool:
    """Whether a text is JSON and means the same as a value."""
    try:
        return json.loads(text) == value
    except ValueError:
        return False


def text_of(content: Iterable[Any]) -> str:
    """The text of all text blocks and text resources of a content list."""
    parts = [getattr(block, "text", None) or getattr(getattr(block, "resource", None), "text", "") for block in content]
    return "\n".join(part or "" for part in parts)
