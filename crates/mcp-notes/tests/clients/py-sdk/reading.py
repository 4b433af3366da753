"""Notes as resources, the prompts, and completion; prompts/list says which arguments there are."""

import re
from typing import Any

import mcp_types as types
from runner import expect
from scene import Scene, text_of

ABSENT = "00000000-0000-7000-8000-000000000000"
PROMPTS = ["summarize_note", "weekly_review", "find_related", "tidy_tags"]
IS_ID = re.compile(r"(^|_)id$|^note$")
IS_TAG = re.compile(r"^tags?$")
FILL_MAX = 200


async def tell(scene: Scene) -> None:
    """Every step with resources, prompts and completion."""
    await scene.step("resources/list, page by page", lambda: pages(scene))
    await scene.step("resources/list with a bad cursor", lambda: bad_cursor(scene))
    await scene.step("resources/templates/list", lambda: templates(scene))
    await scene.step("resources/read", lambda: read(scene))
    await scene.step("resources/read of what is not there", lambda: absent(scene))
    if not await scene.step("prompts/list", lambda: prompts(scene)):
        return
    await scene.step("prompts/get", lambda: get_prompts(scene))
    await scene.step("prompts/get of bad requests", lambda: bad_prompts(scene))
    await scene.step("completion/complete of prompt arguments", lambda: complete_prompts(scene))
    await scene.step("completion/complete of the template", lambda: complete_template(scene))
    await scene.step("completion/complete of an unknown prompt", lambda: complete_unknown(scene))


async def page_of(scene: Scene, cursor: str | None = None) -> types.ListResourcesResult:
    return await scene.client.list_resources(cursor=cursor, cache_mode="bypass")


async def pages(scene: Scene) -> str:
    for made in range(FILL_MAX):
        if made % 20 == 0:
            page = await page_of(scene)
            # Notes of others may go at any time, so those of this run alone must be more than a page.
            if page.next_cursor and len(scene.made) > len(page.resources):
                break
        await scene.make(f"Page filler {made} {scene.tag}")
    page = await page_of(scene)
    expect(page.next_cursor, f"nextCursor on a list of more than {FILL_MAX} resources", page)
    listed = list(page.resources)
    count = 1
    while page.next_cursor and count < 50:
        page = await page_of(scene, page.next_cursor)
        listed += page.resources
        count += 1
    expect(not page.next_cursor, "an end of the list", f"{count} pages and a cursor")
    uris = [str(resource.uri) for resource in listed]
    expect(len(set(uris)) == len(uris), "no resource twice", uris)
    missing = {f"note:///{note_id}" for note_id in scene.made} - set(uris)
    expect(not missing, f"{missing} in the list", uris)
    one = listed[uris.index(f"note:///{scene.note['id']}")]
    expect(scene.note["title"] in (one.title, one.name), f"the title {scene.note['title']}", one)
    expect(one.mime_type, "a mimeType", one)
    return f"{len(listed)} resources on {count} pages"


async def bad_cursor(scene: Scene) -> str:
    return str(await scene.protocol_error(-32602, "a bad cursor", page_of(scene, "no such cursor")))


async def templates(scene: Scene) -> str:
    listed = [entry.uri_template for entry in (await scene.client.list_resource_templates()).resource_templates]
    expect("note:///{id}" in listed, "the template note:///{id}", listed)
    return " ".join(listed)


async def read(scene: Scene) -> str | None:
    uri = f"note:///{scene.note['id']}"
    contents = (await scene.client.read_resource(uri, cache_mode="bypass")).contents
    expect(contents and str(contents[0].uri) == uri, f"contents of {uri}", contents)
    expect(scene.note["content"] in text_of(contents), "the content of the note", contents)
    return contents[0].mime_type


async def absent(scene: Scene) -> str:
    code = -32602 if scene.modern else -32002
    for uri in [f"note:///{ABSENT}", "note:///not-an-id", "other:///x"]:
        error = await scene.protocol_error(code, uri, scene.client.read_resource(uri))
        expect((error.data or {}).get("uri") == uri, f"data.uri {uri}", error.error)
    return f"code {code}"


async def prompts(scene: Scene) -> str:
    scene.prompts = (await scene.client.list_prompts()).prompts
    listed = {prompt.name: prompt for prompt in scene.prompts}
    for name in PROMPTS:
        expect(name in listed, f"the prompt {name}", list(listed))
        expect(listed[name].title and listed[name].description, f"title and description of {name}", listed[name])
    return " ".join(f"{p.name}({','.join(a.name for a in p.arguments or [])})" for p in scene.prompts)


def value_for(scene: Scene, name: str) -> str:
    expect(IS_ID.search(name) or IS_TAG.search(name), "required arguments that are an id or a tag", name)
    return scene.note["id"] if IS_ID.search(name) else scene.tag


async def get_prompts(scene: Scene) -> None:
    for prompt in scene.prompts:
        arguments = {a.name: value_for(scene, a.name) for a in prompt.arguments or [] if a.required}
        result = await scene.client.get_prompt(prompt.name, arguments)
        text = text_of(message.content for message in result.messages)
        expect(text.strip(), f"text in {prompt.name}", result)
        if any(IS_ID.search(name) for name in arguments):
            expect(scene.note["content"].strip() in text, f"{prompt.name} to hold the text of the note", text)


async def bad_prompts(scene: Scene) -> None:
    get = scene.client.get_prompt
    await scene.protocol_error(-32602, "an unknown prompt", get("shred_note", {}))
    await scene.protocol_error(-32602, "a missing argument", get("summarize_note", {}))
    await scene.protocol_error(-32602, "a note that is not there", get("summarize_note", {"note_id": ABSENT}))


async def complete(scene: Scene, ref: Any, name: str, value: str) -> list[str]:
    completion = (await scene.client.complete(ref, {"name": name, "value": value})).completion
    expect(len(completion.values) <= 100, "at most 100 values", completion)
    return completion.values


async def complete_id(scene: Scene, ref: Any, name: str) -> list[str]:
    """Completes an id by the start of the id and by the start of the title; the note itself must be offered."""
    typed = [scene.note["id"][:13], f"Budget meeting {scene.tag}"]
    offered = [value for start in typed for value in await complete(scene, ref, name, start)]
    expect(scene.note["id"] in offered, f"{name} completed from {typed} to offer {scene.note['id']}", offered)
    return offered


async def complete_prompts(scene: Scene) -> str:
    done = []
    for prompt in scene.prompts:
        ref = types.PromptReference(name=prompt.name)
        for argument in prompt.arguments or []:
            if IS_ID.search(argument.name):
                await complete_id(scene, ref, argument.name)
            elif IS_TAG.search(argument.name):
                values = await complete(scene, ref, argument.name, scene.tag[:-2])
                expect(scene.tag in values, f"{argument.name} to offer {scene.tag}", values)
            else:
                await complete(scene, ref, argument.name, "")
            done.append(f"{prompt.name}.{argument.name}")
    expect(done, "prompts with arguments", [prompt.name for prompt in scene.prompts])
    return " ".join(done)


async def complete_template(scene: Scene) -> None:
    offered = await complete_id(scene, types.ResourceTemplateReference(uri="note:///{id}"), "id")
    result = await scene.client.read_resource(f"note:///{offered[0]}")
    expect(len(result.contents) == 1, "an offered value to be readable", result)


async def complete_unknown(scene: Scene) -> None:
    request = complete(scene, types.PromptReference(name="shred_note"), "note_id", "a")
    await scene.protocol_error(-32602, "completion for an unknown prompt", request)
