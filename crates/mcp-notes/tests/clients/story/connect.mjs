// Connecting: the era, who the server says it is, what it says it can do, and its tools.

import { expect } from '../runner.mjs';

const TOOLS = {
  create_note: { takes: ['title', 'content', 'tags'], readOnly: false, destructive: false },
  get_note: { takes: ['id'], readOnly: true },
  list_notes: { takes: ['cursor', 'limit', 'tag'], readOnly: true },
  search_notes: { takes: ['query', 'cursor', 'limit'], readOnly: true },
  update_note: { takes: ['id', 'title', 'content', 'tags', 'expected_version'], readOnly: false, destructive: true },
  delete_note: { takes: ['id', 'expected_version'], readOnly: false, destructive: true },
};

export async function connect(scene) {
  const connected = await scene.step('connect', async () => {
    const main = await scene.adapter.open(scene.url, scene.era, scene.wire);
    const wanted = scene.modern ? '2026-07-28' : '2025-11-25';
    expect(main.protocolVersion === wanted, `revision ${wanted}`, main.protocolVersion);
    scene.main = main;
    return wanted;
  });
  if (!connected) return;
  await scene.step('server info', () => serverInfo(scene));
  await scene.step('capabilities', () => capabilities(scene));
  if (scene.modern) await scene.step('server/discover', () => discover(scene));
  await scene.step('tools/list', () => tools(scene));
}

async function serverInfo({ client }) {
  const info = client.getServerVersion();
  expect(Boolean(info?.name) && Boolean(info?.version), 'a name and a version', info);
  return `${info.name} ${info.version}`;
}

async function capabilities({ client }) {
  const caps = client.getServerCapabilities();
  for (const name of ['tools', 'resources', 'prompts', 'completions']) {
    expect(caps?.[name] !== undefined, `the capability ${name}`, caps);
  }
  expect(caps.resources.subscribe === true, 'resources.subscribe', caps);
  expect(caps.resources.listChanged === true, 'resources.listChanged', caps);
  expect(caps.logging === undefined, 'no logging capability, which is deprecated', caps);
  return Object.keys(caps).join(' ');
}

async function discover({ client, main }) {
  for (const result of [main.discovered, await client.discover()]) {
    expect(result?.supportedVersions?.includes('2026-07-28'), 'supportedVersions with 2026-07-28', result);
    expect(result.capabilities?.tools !== undefined, 'capabilities', result);
  }
  return main.discovered.supportedVersions.join(' ');
}

async function tools({ client }) {
  const { tools: listed } = await client.listTools();
  const byName = new Map(listed.map((tool) => [tool.name, tool]));
  for (const [name, wanted] of Object.entries(TOOLS)) {
    const tool = byName.get(name);
    expect(tool !== undefined, `the tool ${name}`, [...byName.keys()]);
    expect(Boolean(tool.title ?? tool.annotations?.title), `a title of ${name}`, tool);
    expect(Boolean(tool.description), `a description of ${name}`, tool);
    expect(tool.inputSchema?.type === 'object', `inputSchema of ${name} with type object`, tool.inputSchema);
    expect(tool.outputSchema?.type === 'object', `outputSchema of ${name} with type object`, tool.outputSchema);
    for (const argument of wanted.takes) {
      expect(tool.inputSchema.properties?.[argument] !== undefined, `${name} to take ${argument}`, tool.inputSchema);
    }
    annotations(tool, wanted);
  }
  return [...byName.keys()].join(' ');
}

function annotations(tool, wanted) {
  const hints = tool.annotations ?? {};
  expect((hints.readOnlyHint ?? false) === wanted.readOnly, `${tool.name} readOnlyHint ${wanted.readOnly}`, hints);
  if (wanted.destructive !== undefined) {
    const hint = hints.destructiveHint ?? true;
    expect(hint === wanted.destructive, `${tool.name} destructiveHint ${wanted.destructive}`, hints);
  }
  expect(hints.openWorldHint === false, `${tool.name} openWorldHint false`, hints);
}
