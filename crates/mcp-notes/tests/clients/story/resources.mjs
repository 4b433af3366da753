// Notes as resources: the list and its pages, the template, reading, and what is not there.

import { expect } from '../runner.mjs';
import { textOf } from '../scene.mjs';

const ABSENT = 'note:///00000000-0000-7000-8000-000000000000';
/** More notes than one page of resources/list may hold. */
const FILL_MAX = 200;

export async function resources(scene) {
  await scene.step('resources/list, page by page', () => pages(scene));
  await scene.step('resources/list with a bad cursor', () => badCursor(scene));
  await scene.step('resources/templates/list', () => templates(scene));
  await scene.step('resources/read', () => read(scene));
  await scene.step('resources/read of what is not there', () => absent(scene));
}

async function pages(scene) {
  await fill(scene);
  const listed = [];
  let cursor;
  let count = 0;
  do {
    const page = await scene.main.resourcesPage(cursor);
    listed.push(...page.resources);
    cursor = page.nextCursor;
    count += 1;
  } while (cursor !== undefined && count < 50);
  expect(cursor === undefined, 'an end of the list', `${count} pages and a cursor`);
  check(scene, listed);
  if (scene.main.resourcesAll) check(scene, (await scene.main.resourcesAll()).resources);
  return `${listed.length} resources on ${count} pages`;
}

/** Makes notes until those of this run alone are more than a page. */
async function fill(scene) {
  for (let made = 0; made < FILL_MAX; made += 20) {
    const page = await scene.main.resourcesPage();
    if (page.nextCursor !== undefined && scene.made.size > page.resources.length) return;
    const numbers = Array.from({ length: 20 }, (_, n) => made + n);
    await Promise.all(numbers.map((n) => scene.make({ title: `Page filler ${n} ${scene.tag}`, content: '.' })));
  }
  expect(false, `nextCursor on a list of more than ${FILL_MAX} resources`, 'none');
}

function check(scene, listed) {
  const uris = listed.map((resource) => resource.uri);
  expect(new Set(uris).size === uris.length, 'no resource twice', uris);
  for (const id of scene.made) expect(uris.includes(`note:///${id}`), `note:///${id} in the list`, uris);
  const resource = listed.find((entry) => entry.uri === `note:///${scene.note.id}`);
  expect(Boolean(resource.name), 'a name of a resource', resource);
  expect((resource.title ?? resource.name) === scene.note.title, `the title ${scene.note.title}`, resource);
  expect(Boolean(resource.mimeType), 'a mimeType of a resource', resource);
}

async function badCursor(scene) {
  const error = await scene.protocolError(-32602, 'a bad cursor', () => scene.main.resourcesPage('no such cursor'));
  return error.message;
}

async function templates({ client }) {
  const { resourceTemplates } = await client.listResourceTemplates();
  const template = resourceTemplates.find((entry) => entry.uriTemplate === 'note:///{id}');
  expect(template !== undefined, 'the template note:///{id}', resourceTemplates);
  expect(Boolean(template.name), 'a name of the template', template);
  return resourceTemplates.map((entry) => entry.uriTemplate).join(' ');
}

async function read({ client, note }) {
  const uri = `note:///${note.id}`;
  const { contents } = await client.readResource({ uri });
  expect(contents.length > 0, 'contents', contents);
  expect(contents[0].uri === uri, uri, contents[0].uri);
  expect(textOf(contents).includes(note.content), 'the content of the note', contents);
  return contents[0].mimeType;
}

async function absent(scene) {
  const code = scene.modern ? -32602 : -32002;
  for (const uri of [ABSENT, 'note:///not-an-id', 'other:///x']) {
    const error = await scene.protocolError(code, uri, () => scene.client.readResource({ uri }));
    expect(error.data?.uri === uri, `data.uri ${uri}`, error);
  }
  return `code ${code}`;
}
