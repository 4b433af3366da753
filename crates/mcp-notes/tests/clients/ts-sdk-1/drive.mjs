// Drives the server with the official TypeScript SDK 1.x, which speaks the revisions with sessions.

import { readArguments, Runner } from '../runner.mjs';
import { tell } from '../story.mjs';
import { load, version } from '../tools.mjs';

const { Client } = load('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const types = load('@modelcontextprotocol/sdk/types.js');

const SCHEMAS = {
  'notifications/resources/updated': types.ResourceUpdatedNotificationSchema,
  'notifications/resources/list_changed': types.ResourceListChangedNotificationSchema,
};

/** Opens one connection and gives it the shape that the story uses. */
async function open(url, _era, wire) {
  const client = new Client({ name: 'ts-sdk-1', version: version('@modelcontextprotocol/sdk') });
  const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: wire.fetch });
  await client.connect(transport);
  return {
    client,
    protocolVersion: transport.protocolVersion,
    resourcesPage: (cursor) => client.listResources(cursor === undefined ? {} : { cursor }),
    onNotification: (method, handler) => client.setNotificationHandler(SCHEMAS[method], handler),
    terminate: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

const options = readArguments(['legacy']);
const runner = new Runner(options.seconds);
for (const era of options.eras) await tell({ name: 'ts-sdk-1', open }, options.url, era, runner);
runner.finish();
