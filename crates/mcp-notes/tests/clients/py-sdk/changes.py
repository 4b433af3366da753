"""Being told of changes that others make: by another MCP client and over REST, in the way of each era."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
from mcp import Client
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated, Subscription
from runner import expect
from scene import Scene

LISTED = "resources list changed"


async def tell(scene: Scene) -> None:
    """Every step with notifications, and with the second client that causes them."""
    async with AsyncExitStack() as stack:
        other = scene.connection(await stack.enter_async_context(scene.http()))

        async def enter() -> str:
            await stack.enter_async_context(other)
            return other.protocol_version

        if await scene.step("a second client", enter, None):
            await (modern if scene.modern else legacy)(scene, other)


async def modern(scene: Scene, other: Client) -> None:
    uri = f"note:///{scene.note['id']}"
    async with AsyncExitStack() as stack:
        opened: list[Subscription] = []

        async def listen() -> None:
            request = scene.client.listen(resources_list_changed=True, resource_subscriptions=[uri])
            opened.append(await stack.enter_async_context(request))
            honored = opened[0].honored
            expect(honored.resources_list_changed, "resourcesListChanged honoured", honored)
            expect(uri in (honored.resource_subscriptions or []), f"{uri} honoured", honored)

        await scene.step("subscriptions/listen", listen)
        if not opened:
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, scene, opened[0])
            await noticed(scene, other, uri)
            tasks.cancel_scope.cancel()
    await scene.step("subscriptions/listen to the list alone", lambda: list_alone(scene, other))


async def pump(scene: Scene, subscription: Subscription) -> None:
    async for event in subscription:
        if isinstance(event, ResourceUpdated):
            scene.notices.push(event.uri)
        elif isinstance(event, ResourcesListChanged):
            scene.notices.push(LISTED)
    scene.notices.push("the server ended the subscription")


async def list_alone(scene: Scene, other: Client) -> None:
    async with scene.client.listen(resources_list_changed=True) as subscription, anyio.create_task_group() as tasks:
        tasks.start_soon(pump, scene, subscription)
        await silent_update(scene, other)
        tasks.cancel_scope.cancel()


async def legacy(scene: Scene, other: Client) -> None:
    uri = f"note:///{scene.note['id']}"

    async def stream() -> None:
        answer = await scene.answers.wait_for(lambda answer: answer["method"] == "GET", "a GET by the SDK")
        expect(answer["status"] == 200 and "event-stream" in answer["type"], "200 and an event stream", answer)

    async def subscribe() -> None:
        await scene.client.subscribe_resource(uri)

    async def unsubscribe() -> None:
        await scene.client.unsubscribe_resource(uri)
        await silent_update(scene, other)

    await scene.step("GET stream", stream)
    await scene.step("resources/subscribe", subscribe)
    await noticed(scene, other, uri)
    await scene.step("resources/unsubscribe", unsubscribe)


async def noticed(scene: Scene, other: Client, uri: str) -> None:
    """Changes by each face of the server, and the notification each must bring."""
    note_id, tag = scene.note["id"], scene.tag
    made: list[str] = []

    async def see(name: str, wanted: str, change: Callable[[], Awaitable[Any]]) -> None:
        async def body() -> None:
            scene.notices.items.clear()
            await change()
            await scene.notices.wait_for(lambda notice: notice == wanted, f"the notification: {wanted}")
            strays = [notice for notice in scene.notices.items if notice not in (uri, LISTED)]
            expect(not strays, "updates of the subscribed note only", strays)

        await scene.step(f"notice of {name}", body)

    async def create() -> None:
        made.append((await scene.make(f"Made by MCP {tag}", client=other))["id"])

    async def delete() -> None:
        await scene.call("delete_note", other, id=made[-1])
        scene.made.remove(made[-1])

    async def patch() -> None:
        answer = await scene.rest("PATCH", f"/{note_id}", {"title": f"Changed by REST {tag}"})
        expect(answer.status_code == 200, "status 200", {"status": answer.status_code, "body": answer.text})

    async def post() -> None:
        answer = await scene.rest("POST", "", {"title": f"Made by REST {tag}", "content": ".", "tags": [tag]})
        expect(answer.status_code == 201, "status 201", {"status": answer.status_code, "body": answer.text})
        made.append(answer.json()["id"])
        scene.made.append(made[-1])

    async def rest_delete() -> None:
        answer = await scene.rest("DELETE", f"/{made[-1]}")
        expect(answer.status_code == 204, "status 204", {"status": answer.status_code, "body": answer.text})
        scene.made.remove(made[-1])

    title = f"Changed by MCP {tag}"
    await see("update_note by another client", uri, lambda: scene.call("update_note", other, id=note_id, title=title))
    await see("create_note by another client", LISTED, create)
    await see("delete_note by another client", LISTED, delete)
    await see("PATCH over REST", uri, patch)
    await see("POST over REST", LISTED, post)
    await see("DELETE over REST", LISTED, rest_delete)


async def silent_update(scene: Scene, other: Client) -> None:
    """A change nobody subscribed to brings nothing; a later change of the list shows that nothing came."""
    scene.notices.items.clear()
    await scene.call("update_note", other, id=scene.note["id"], content="Changed unseen.")
    await scene.make(f"Made after {scene.tag}", client=other)
    await scene.notices.wait_for(lambda notice: notice == LISTED, f"the notification: {LISTED}")
    strays = [notice for notice in scene.notices.items if notice != LISTED]
    expect(not strays, "no update of a note nobody subscribed to", strays)
