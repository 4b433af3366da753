// Being told of changes that others make: by another MCP client and over REST, in the way of each era.

import { expect, Inbox } from '../runner.mjs';

const UPDATED = 'notifications/resources/updated';
const LISTED = 'notifications/resources/list_changed';

export async function changes(scene) {
  const inbox = new Inbox();
  for (const method of [UPDATED, LISTED]) {
    scene.main.onNotification(method, (notification) => inbox.push({ method, uri: notification.params?.uri }));
  }
  const others = {};
  await scene.step('a second client', async () => {
    Object.assign(others, await scene.another());
    return others.protocolVersion;
  });
  if (others.client === undefined) return;
  const era = scene.modern ? modern : legacy;
  await era(scene, inbox, others);
  await others.terminate?.();
  await others.close();
}

async function modern(scene, inbox, others) {
  const uri = `note:///${scene.note.id}`;
  let subscription;
  await scene.step('subscriptions/listen', async () => {
    subscription = await scene.main.listen({ resourcesListChanged: true, resourceSubscriptions: [uri] });
    const honored = subscription.honoredFilter;
    expect(honored.resourcesListChanged === true, 'resourcesListChanged honoured', honored);
    expect(honored.resourceSubscriptions?.includes(uri), `${uri} honoured`, honored);
  });
  if (subscription === undefined) return;
  await noticed(scene, inbox, others, uri);
  await scene.step('end of the subscription', async () => {
    await subscription.close();
    const reason = await subscription.closed;
    expect(reason === 'local', 'the stream ended by us', reason);
  });
  await scene.step('subscriptions/listen to the list alone', async () => {
    const listOnly = await scene.main.listen({ resourcesListChanged: true });
    await silentUpdate(scene, inbox, others, uri);
    await listOnly.close();
  });
}

async function legacy(scene, inbox, others) {
  const uri = `note:///${scene.note.id}`;
  await scene.step('GET stream', async () => {
    const stream = await scene.wire.exchanges.waitFor(({ method }) => method === 'GET', 'a GET by the SDK');
    expect(stream.status === 200, 'status 200', stream);
    expect(stream.type.startsWith('text/event-stream'), 'an event stream', stream);
  });
  await scene.step('resources/subscribe', async () => {
    await scene.client.subscribeResource({ uri });
  });
  await noticed(scene, inbox, others, uri);
  await scene.step('resources/unsubscribe', async () => {
    await scene.client.unsubscribeResource({ uri });
    await silentUpdate(scene, inbox, others, uri);
  });
}

/** Changes by each face of the server, and the notification each must bring. */
async function noticed(scene, inbox, others, uri) {
  const { id } = scene.note;
  const { tag } = scene;
  const updated = [(item) => item.method === UPDATED && item.uri === uri, `${UPDATED} for ${uri}`];
  const listed = [(item) => item.method === LISTED, LISTED];
  const see = async (name, [test, expected], change) => {
    await scene.step(`notice of ${name}`, async () => {
      inbox.clear();
      await change();
      await inbox.waitFor(test, expected);
      const strays = inbox.items.filter((item) => item.method === UPDATED && item.uri !== uri);
      expect(strays.length === 0, 'updates of the subscribed note only', strays);
    });
  };
  let made;
  await see('update_note by another client', updated, () =>
    scene.call('update_note', { id, title: `Changed by MCP ${tag}` }, others.client));
  await see('create_note by another client', listed, async () => {
    made = await scene.make({ title: `Made by MCP ${tag}`, content: '.' }, others.client);
  });
  await see('delete_note by another client', listed, async () => {
    await scene.call('delete_note', { id: made.id }, others.client);
    scene.made.delete(made.id);
  });
  await see('PATCH over REST', updated, async () => {
    const { status, body } = await scene.rest('PATCH', `/${id}`, { title: `Changed by REST ${tag}` });
    expect(status === 200 && body.title === `Changed by REST ${tag}`, '200 and the new title', { status, body });
  });
  await see('POST over REST', listed, async () => {
    const note = { title: `Made by REST ${tag}`, content: '.', tags: [tag] };
    const { status, body, headers } = await scene.rest('POST', '', note);
    expect(status === 201, 'status 201', { status, body });
    expect(headers.get('location')?.endsWith(`/${body.id}`), 'Location of the note', headers.get('location'));
    made = body;
    scene.made.add(made.id);
  });
  await see('DELETE over REST', listed, async () => {
    const { status, body } = await scene.rest('DELETE', `/${made.id}`);
    expect(status === 204, 'status 204', { status, body });
    scene.made.delete(made.id);
  });
}

/** A change of a note nobody subscribed to brings nothing; a later change of the list shows that nothing came. */
async function silentUpdate(scene, inbox, others, uri) {
  inbox.clear();
  await scene.call('update_note', { id: scene.note.id, content: 'Changed unseen.' }, others.client);
  await scene.make({ title: `Made after ${scene.tag}`, content: '.' }, others.client);
  await inbox.waitFor((item) => item.method === LISTED, LISTED);
  const strays = inbox.items.filter((item) => item.method === UPDATED);
  expect(strays.length === 0, `no ${UPDATED} for ${uri}`, strays);
}
