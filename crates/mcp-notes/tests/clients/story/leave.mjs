// The end: ping where it exists, what the wire must never show in this era, tidying up, and leaving.

import { expect } from '../runner.mjs';

const SERVER_INFO = 'io.modelcontextprotocol/serverInfo';
const CACHED = ['server/discover', 'tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read'];

export async function leave(scene) {
  if (!scene.modern) await scene.step('ping', () => scene.client.ping().then(() => ''));
  await scene.step('the wire', async () => (scene.modern ? modernWire(scene) : legacyWire(scene)));
  await scene.step('tidying up', () => tidyUp(scene));
  if (scene.modern) await scene.step('close', () => scene.main.close());
  else await scene.step('end of the session', () => endSession(scene));
}

/** Every result with the method that asked for it. */
function results(scene) {
  const found = [];
  for (const { body, messages } of scene.wire.exchanges.items) {
    const answer = messages.find((message) => message.id === body?.id && message.result !== undefined);
    if (body?.method !== undefined && answer !== undefined) found.push({ method: body.method, result: answer.result });
  }
  return found;
}

function modernWire(scene) {
  const all = results(scene);
  for (const { method, result } of all) {
    expect(result.resultType === 'complete', `resultType complete in the result of ${method}`, result);
    expect(result._meta?.[SERVER_INFO]?.name, `serverInfo in _meta of the result of ${method}`, result._meta);
    if (CACHED.includes(method)) {
      expect(Number.isInteger(result.ttlMs) && result.ttlMs >= 0, `ttlMs in the result of ${method}`, result.ttlMs);
      expect(['public', 'private'].includes(result.cacheScope), `cacheScope of ${method}`, result.cacheScope);
    }
  }
  expect(scene.wire.sessionId === undefined, 'no session id', scene.wire.sessionId);
  return `${all.length} results`;
}

function legacyWire(scene) {
  const all = results(scene);
  for (const { method, result } of all) {
    for (const name of ['resultType', 'ttlMs', 'cacheScope']) {
      expect(!(name in result), `no ${name} in the result of ${method}`, result);
    }
  }
  const codes = scene.wire.received.map((message) => message.error?.code ?? 0);
  expect(!codes.some((code) => code <= -32020 && code >= -32099), 'no error code of the modern era', codes);
  expect(/^[\x21-\x7e]{16,}$/.test(scene.wire.sessionId ?? ''), 'a session id', scene.wire.sessionId);
  return `${all.length} results`;
}

async function tidyUp(scene) {
  const ids = [...scene.made];
  for (let start = 0; start < ids.length; start += 10) {
    await Promise.all(ids.slice(start, start + 10).map((id) => scene.call('delete_note', { id })));
  }
  return `${ids.length} notes deleted`;
}

async function endSession(scene) {
  const { sessionId } = scene.wire;
  await scene.main.terminate();
  const deleted = scene.wire.exchanges.items.findLast(({ method }) => method === 'DELETE');
  expect(deleted?.status >= 200 && deleted.status < 300, 'DELETE answered with 2xx', deleted);
  await scene.main.close();
  const response = await fetch(scene.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      'mcp-session-id': sessionId,
    },
    body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
    signal: AbortSignal.timeout(5000),
  });
  const text = await response.text();
  expect(response.status === 404, 'status 404 for the ended session', { status: response.status, text });
}
