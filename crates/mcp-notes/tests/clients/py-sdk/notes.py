"""The six tools: a note is written, read, found, changed and deleted, and bad calls are refused."""

from typing import Any

from runner import expect
from scene import Scene

FIELDS = ["id", "title", "content", "tags", "version", "created_at", "updated_at", "created_by", "updated_by"]
LISTED_FIELDS = ["id", "title", "tags", "version", "preview"]
HIT_FIELDS = ["id", "title", "tags", "version", "snippet"]
CONTENT = "Ask about the zeppelin budget.\n\n会議の議事録をまとめる。\n"
READ_ONLY = {"get_note": True, "list_notes": True, "search_notes": True}
TAKES = {
    "create_note": ["title", "content", "tags"],
    "get_note": ["id"],
    "list_notes": ["cursor", "limit", "tag"],
    "search_notes": ["query", "cursor", "limit"],
    "update_note": ["id", "title", "content", "tags", "expected_version"],
    "delete_note": ["id", "expected_version"],
}


async def tell(scene: Scene) -> None:
    """Every step with the tools."""
    await scene.step("tools/list", lambda: tools(scene))
    await scene.step("create_note", lambda: create(scene))
    await scene.step("get_note", lambda: get(scene))
    await scene.step("list_notes, page by page", lambda: list_pages(scene))
    await scene.step("search_notes", lambda: search(scene))
    await scene.step("update_note with the version read", lambda: update(scene))
    await scene.step("update_note with a stale version", lambda: stale(scene))
    await scene.step("delete_note", lambda: delete(scene))
    await scene.step("invalid arguments", lambda: invalid(scene))
    await scene.step("unknown tool", lambda: unknown_tool(scene))


async def tools(scene: Scene) -> str:
    listed = {tool.name: tool for tool in (await scene.client.list_tools()).tools}
    for name, arguments in TAKES.items():
        expect(name in listed, f"the tool {name}", list(listed))
        tool = listed[name]
        hints = tool.annotations
        expect(tool.title and tool.description, f"title and description of {name}", tool)
        expect(tool.input_schema.get("type") == "object", f"inputSchema of {name}", tool)
        expect((tool.output_schema or {}).get("type") == "object", f"outputSchema of {name}", tool)
        for argument in arguments:
            expect(argument in tool.input_schema.get("properties", {}), f"{name} to take {argument}", tool)
        expect(hints is not None and hints.open_world_hint is False, f"openWorldHint false of {name}", tool)
        expect(bool(hints and hints.read_only_hint) == READ_ONLY.get(name, False), f"readOnlyHint of {name}", tool)
    return " ".join(listed)


async def create(scene: Scene) -> str:
    title = f"Budget meeting {scene.tag}"
    note = await scene.make(title, CONTENT, tags=["work", scene.tag])
    scene.note = note
    for field in FIELDS:
        expect(field in note, f"a note with the field {field}", note)
    expect((note["title"], note["content"]) == (title, CONTENT), "title and content exactly as given", note)
    expect(sorted(note["tags"]) == sorted(["work", scene.tag]), "both tags", note["tags"])
    expect(note["version"] == 1, "version 1", note["version"])
    return note["id"]


async def get(scene: Scene) -> None:
    note = await scene.call("get_note", id=scene.note["id"])
    for field in FIELDS:
        expect(note[field] == scene.note[field], f"{field} as create_note gave it: {scene.note[field]}", note[field])


async def list_pages(scene: Scene) -> str:
    for number in range(1, 5):
        await scene.make(f"Item {number} {scene.tag}", f"Number {number}.")
    seen: list[str] = []
    more: dict[str, Any] = {}
    for pages in range(1, 11):
        page = await scene.call("list_notes", tag=scene.tag, limit=2, **more)
        expect(len(page["notes"]) <= 2, "at most two notes on a page", page)
        for item in page["notes"]:
            for field in LISTED_FIELDS:
                expect(field in item, f"a listed note with the field {field}", item)
            expect("content" not in item, "a listed note without its content", item)
        seen += [item["id"] for item in page["notes"]]
        if not page.get("next_cursor"):
            break
        more = {"cursor": page["next_cursor"]}
    expect(not page.get("next_cursor"), "an end of the list", f"{pages} pages and a cursor")
    expect(seen == scene.made[::-1], f"the notes, newest change first: {scene.made[::-1]}", seen)
    return f"{len(seen)} notes on {pages} pages"


async def search(scene: Scene) -> None:
    for query in [f"zeppelin {scene.tag}", "zeppelin", "議事録"]:
        ids = await found(scene, query)
        expect(scene.note["id"] in ids, f"the query {query} to find {scene.note['id']}", ids)
    for query in ['"unbalanced AND (', "it's* -NEAR/2 ^x:", "%_\\"]:
        await scene.call("search_notes", query=query)
    ids = await found(scene, f"nothing{scene.tag[6:]}like this")
    expect(scene.note["id"] not in ids, "a query of other words to find nothing", ids)


async def found(scene: Scene, query: str) -> list[str]:
    ids: list[str] = []
    more: dict[str, Any] = {}
    for _ in range(10):
        page = await scene.call("search_notes", query=query, **more)
        expect("hits" in page, "hits in the result of a search", page)
        for hit in page["hits"]:
            for field in HIT_FIELDS:
                expect(field in hit, f"a hit with the field {field}", hit)
        ids += [hit["id"] for hit in page["hits"]]
        if not page.get("next_cursor"):
            break
        more = {"cursor": page["next_cursor"]}
    return ids


async def update(scene: Scene) -> None:
    before = scene.note
    content = f"{CONTENT}Approved.\n"
    note = await scene.call("update_note", id=before["id"], content=content, expected_version=1)
    expect(note["version"] == 2, "version 2", note["version"])
    expect(note["content"] == content, "the new content", note["content"])
    expect((note["title"], note["tags"]) == (before["title"], before["tags"]), "title and tags as they were", note)
    scene.note = note


async def stale(scene: Scene) -> str:
    note_id = scene.note["id"]
    text = await scene.refused("update_note", {"id": note_id, "content": "Lost.", "expected_version": 1}, r"\b2\b")
    await scene.refused("delete_note", {"id": note_id, "expected_version": 1}, r"\b2\b")
    now = await scene.call("get_note", id=note_id)
    expect((now["content"], now["version"]) == (scene.note["content"], 2), "the note unchanged", now)
    return text


async def delete(scene: Scene) -> str:
    note_id = (await scene.make(f"To delete {scene.tag}", "Short-lived."))["id"]
    await scene.call("delete_note", id=note_id, expected_version=1)
    scene.made.remove(note_id)
    text = await scene.refused("get_note", {"id": note_id}, ".")
    await scene.refused("update_note", {"id": note_id, "title": "Again"}, ".")
    listed = await scene.call("list_notes", tag=scene.tag, limit=50)
    expect(note_id not in [item["id"] for item in listed["notes"]], "a list without the deleted note", listed)
    return text


async def invalid(scene: Scene) -> str:
    text = {"content": "Text."}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("create_note", text, "title"),
        ("create_note", {"title": 7, **text}, "title"),
        ("create_note", {"title": "x" * 256, **text}, r"(?s)title.*255|255.*title"),
        ("create_note", {"title": "two\nlines", **text}, "title"),
        ("create_note", {"title": "A bell", "content": "ding \x07"}, "content"),
        ("create_note", {"title": "Tags", "tags": "work", **text}, "tags"),
        ("create_note", {"title": "Unknown", "colour": "red", **text}, "colour"),
        ("get_note", {"id": "no such id"}, r"\bid\b"),
        ("list_notes", {"cursor": "no such cursor"}, "cursor"),
        ("list_notes", {"limit": "many"}, "limit"),
        ("search_notes", {}, "query"),
        ("update_note", {"id": scene.note["id"], "expected_version": "two"}, "expected_version"),
    ]
    for name, arguments, pattern in cases:
        await scene.refused(name, arguments, pattern)
    return f"{len(cases)} refused"


async def unknown_tool(scene: Scene) -> str:
    return str(await scene.protocol_error(-32602, "an unknown tool", scene.client.call_tool("shred_note", {})))
