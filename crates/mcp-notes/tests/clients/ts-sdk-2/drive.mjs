// Drives the server with the official TypeScript SDK 2.x: once as a client of revision 2026-07-28 that finds
// the revision by itself, once as a client of the revisions with sessions.

import { readArguments, Runner } from '../runner.mjs';
import { tell } from '../story.mjs';
import { load, version } from '../tools.mjs';

const { Client, StreamableHTTPClientTransport } = load('@modelcontextprotocol/client');

/** Opens one connection and gives it the shape that the story uses. */
async function open(url, era, wire) {
  const client = new Client(
    { name: 'ts-sdk-2', version: version('@modelcontextprotocol/client') },
    { versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
  );
  const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: wire.fetch });
  await client.connect(transport);
  return {
    client,
    protocolVersion: client.getNegotiatedProtocolVersion(),
    discovered: client.getDiscoverResult(),
    // listResources() without a cursor walks all pages by itself, so a first page has to be asked for like this.
    resourcesPage: (cursor) =>
      client.request({ method: 'resources/list', params: cursor === undefined ? {} : { cursor } }),
    resourcesAll: () => client.listResources(undefined, { cacheMode: 'bypass' }),
    onNotification: (method, handler) => client.setNotificationHandler(method, handler),
    listen: (filter) => client.listen(filter),
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

const options = readArguments(['modern', 'legacy']);
const runner = new Runner(options.seconds);
for (const era of options.eras) await tell({ name: 'ts-sdk-2', open }, options.url, era, runner);
runner.finish();
