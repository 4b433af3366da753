// The six tools: a note is written, read, found, changed and deleted, and bad calls are refused.

import { expect } from '../runner.mjs';

const FIELDS = ['id', 'title', 'content', 'tags', 'version', 'created_at', 'updated_at', 'created_by', 'updated_by'];
const CONTENT = 'Ask about the zeppelin budget.\n\n会議の議事録をまとめる。\n';

export async function notes(scene) {
  await scene.step('create_note', () => create(scene));
  await scene.step('get_note', () => get(scene));
  await scene.step('list_notes, page by page', () => list(scene));
  await scene.step('search_notes', () => search(scene));
  await scene.step('update_note with the version read', () => update(scene));
  await scene.step('update_note with a stale version', () => stale(scene));
  await scene.step('delete_note', () => remove(scene));
  await scene.step('invalid arguments', () => invalid(scene));
  await scene.step('unknown tool', () => unknownTool(scene));
}

async function create(scene) {
  const title = `Budget meeting ${scene.tag}`;
  const note = await scene.make({ title, content: CONTENT, tags: ['work', scene.tag] });
  scene.note = note;
  for (const field of FIELDS) expect(field in note, `a note with the field ${field}`, note);
  expect(note.title === title && note.content === CONTENT, 'title and content exactly as given', note);
  expect([...note.tags].sort().join() === [scene.tag, 'work'].sort().join(), 'both tags', note.tags);
  expect(note.version === 1, 'version 1', note.version);
  expect(!Number.isNaN(Date.parse(note.created_at)), 'created_at as a time', note.created_at);
  return note.id;
}

async function get(scene) {
  const note = await scene.call('get_note', { id: scene.note.id });
  for (const field of FIELDS) {
    const same = JSON.stringify(note[field]) === JSON.stringify(scene.note[field]);
    expect(same, `${field} as create_note gave it: ${JSON.stringify(scene.note[field])}`, note[field]);
  }
}

async function list(scene) {
  for (let n = 1; n <= 4; n += 1) await scene.make({ title: `Item ${n} ${scene.tag}`, content: `Number ${n}.` });
  const seen = [];
  let cursor;
  let pages = 0;
  do {
    const page = await scene.call('list_notes', { tag: scene.tag, limit: 2, ...(cursor && { cursor }) });
    expect(Array.isArray(page.notes) && page.notes.length <= 2, 'at most two notes on a page', page);
    for (const item of page.notes) {
      for (const field of ['id', 'title', 'tags', 'version', 'preview']) {
        expect(field in item, `a listed note with the field ${field}`, item);
      }
      expect(!('content' in item), 'a listed note without its content', item);
    }
    seen.push(...page.notes.map((item) => item.id));
    cursor = page.next_cursor ?? undefined;
    pages += 1;
  } while (cursor !== undefined && pages < 10);
  expect(cursor === undefined, 'an end of the list', `${pages} pages and a cursor`);
  expect(new Set(seen).size === seen.length, 'no note twice', seen);
  expect([...seen].sort().join() === [...scene.made].sort().join(), `the notes ${[...scene.made]}`, seen);
  expect(seen.join() === [...scene.made].reverse().join(), 'the newest change first', seen);
  return `${seen.length} notes on ${pages} pages`;
}

async function search(scene) {
  for (const query of [`zeppelin ${scene.tag}`, 'zeppelin', '議事録']) {
    const ids = await found(scene, query);
    expect(ids.includes(scene.note.id), `the query ${query} to find ${scene.note.id}`, ids);
  }
  for (const query of ['"unbalanced AND (', "it's* -NEAR/2 ^x:", '%_\\']) await scene.call('search_notes', { query });
  const none = await found(scene, `nothing${scene.tag.slice(6)}like this`);
  expect(!none.includes(scene.note.id), 'a query of other words to find nothing', none);
}

async function found(scene, query) {
  const ids = [];
  let cursor;
  for (let page = 0; page < 10; page += 1) {
    const result = await scene.call('search_notes', { query, ...(cursor && { cursor }) });
    expect(Array.isArray(result.hits), 'hits in the result of a search', result);
    for (const hit of result.hits) {
      for (const field of ['id', 'title', 'tags', 'version', 'snippet']) {
        expect(field in hit, `a hit with the field ${field}`, hit);
      }
    }
    ids.push(...result.hits.map((hit) => hit.id));
    cursor = result.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  return ids;
}

async function update(scene) {
  const { id, title } = scene.note;
  const content = `${CONTENT}Approved.\n`;
  const changed = await scene.call('update_note', { id, content, expected_version: 1 });
  expect(changed.version === 2, 'version 2', changed.version);
  expect(changed.content === content, 'the new content', changed.content);
  expect(changed.title === title, 'the title as it was', changed.title);
  expect(changed.tags.length === 2, 'the tags as they were', changed.tags);
  scene.note = changed;
}

async function stale(scene) {
  const { id } = scene.note;
  const text = await scene.refused('update_note', { id, content: 'Lost update.', expected_version: 1 }, /\b2\b/);
  await scene.refused('delete_note', { id, expected_version: 1 }, /\b2\b/);
  const now = await scene.call('get_note', { id });
  expect(now.content === scene.note.content && now.version === 2, 'the note unchanged', now);
  return text.split('\n')[0];
}

async function remove(scene) {
  const { id } = await scene.make({ title: `To delete ${scene.tag}`, content: 'Short-lived.' });
  await scene.call('delete_note', { id, expected_version: 1 });
  scene.made.delete(id);
  const text = await scene.refused('get_note', { id }, /./);
  await scene.refused('update_note', { id, title: 'Again' }, /./);
  const { notes: listed } = await scene.call('list_notes', { tag: scene.tag, limit: 50 });
  expect(!listed.some((item) => item.id === id), 'a list without the deleted note', listed);
  return text.split('\n')[0];
}

async function invalid(scene) {
  const content = 'Text.';
  const cases = [
    ['create_note', { content }, /title/],
    ['create_note', { title: 7, content }, /title/],
    ['create_note', { title: 'x'.repeat(256), content }, /title[\s\S]*255|255[\s\S]*title/],
    ['create_note', { title: 'two\nlines', content }, /title/],
    ['create_note', { title: 'A bell', content: 'ding \u0007' }, /content/],
    ['create_note', { title: 'Tags', content, tags: 'work' }, /tags/],
    ['create_note', { title: 'Unknown', content, colour: 'red' }, /colour/],
    ['get_note', { id: 'no such id' }, /\bid\b/],
    ['list_notes', { cursor: 'no such cursor' }, /cursor/],
    ['list_notes', { limit: 'many' }, /limit/],
    ['search_notes', {}, /query/],
    ['update_note', { id: scene.note.id, expected_version: 'two' }, /expected_version/],
  ];
  for (const [name, args, pattern] of cases) await scene.refused(name, args, pattern);
  return `${cases.length} refused`;
}

async function unknownTool(scene) {
  const error = await scene.protocolError(-32602, 'an unknown tool', () =>
    scene.client.callTool({ name: 'shred_note', arguments: {} }));
  return error.message;
}
