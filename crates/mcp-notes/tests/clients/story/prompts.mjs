// The prompts and the completion of their arguments; prompts/list says which arguments there are.

import { expect } from '../runner.mjs';
import { textOf } from '../scene.mjs';

const PROMPTS = ['summarize_note', 'weekly_review', 'find_related', 'tidy_tags'];
const IS_ID = /(^|_)id$|^note$/;
const IS_TAG = /^tags?$/;

export async function prompts(scene) {
  const listed = await scene.step('prompts/list', () => list(scene));
  if (!listed) return;
  await scene.step('prompts/get', () => get(scene));
  await scene.step('prompts/get of bad requests', () => bad(scene));
  await scene.step('completion/complete of prompt arguments', () => completePrompts(scene));
  await scene.step('completion/complete of the template', () => completeTemplate(scene));
  await scene.step('completion/complete of an unknown prompt', () => completeUnknown(scene));
}

async function list(scene) {
  const { prompts: listed } = await scene.client.listPrompts();
  scene.prompts = listed;
  for (const name of PROMPTS) {
    const prompt = listed.find((entry) => entry.name === name);
    expect(prompt !== undefined, `the prompt ${name}`, listed.map((entry) => entry.name));
    expect(Boolean(prompt.description) && Boolean(prompt.title), `title and description of ${name}`, prompt);
  }
  return listed.map(({ name, arguments: args = [] }) => `${name}(${args.map((arg) => arg.name)})`).join(' ');
}

/** A value for an argument, by what its name says it is. */
function valueFor(scene, argument) {
  if (IS_ID.test(argument.name)) return scene.note.id;
  if (IS_TAG.test(argument.name)) return scene.tag;
  return expect(false, 'arguments that are an id or a tag', argument);
}

function argumentsFor(scene, prompt) {
  const required = (prompt.arguments ?? []).filter((argument) => argument.required);
  return Object.fromEntries(required.map((argument) => [argument.name, valueFor(scene, argument)]));
}

async function get(scene) {
  for (const prompt of scene.prompts) {
    const args = argumentsFor(scene, prompt);
    const { messages } = await scene.client.getPrompt({ name: prompt.name, arguments: args });
    expect(messages.length > 0, `messages of ${prompt.name}`, messages);
    const text = textOf(messages.map((message) => message.content));
    expect(text.trim().length > 0, `text in ${prompt.name}`, messages);
    if (Object.keys(args).some((name) => IS_ID.test(name))) {
      expect(text.includes(scene.note.content.trim()), `${prompt.name} to hold the text of the note`, text);
    }
  }
}

async function bad(scene) {
  const { client } = scene;
  await scene.protocolError(-32602, 'an unknown prompt', () => client.getPrompt({ name: 'shred_note', arguments: {} }));
  await scene.protocolError(-32602, 'a missing argument', () =>
    client.getPrompt({ name: 'summarize_note', arguments: {} }));
  const absent = { note_id: '00000000-0000-7000-8000-000000000000' };
  await scene.protocolError(-32602, 'a note that is not there', () =>
    client.getPrompt({ name: 'summarize_note', arguments: absent }));
}

async function complete({ client }, ref, name, value) {
  const { completion } = await client.complete({ ref, argument: { name, value } });
  const { values } = completion;
  expect(Array.isArray(values) && values.length <= 100, 'at most 100 values', completion);
  expect(completion.total === undefined || completion.total >= values.length, 'a total that fits', completion);
  return values;
}

/** Completes an id by the start of the id and by the start of the title; the note itself must be offered. */
async function completeId(scene, ref, name) {
  const typed = [scene.note.id.slice(0, 13), `Budget meeting ${scene.tag}`];
  const offered = (await Promise.all(typed.map((value) => complete(scene, ref, name, value)))).flat();
  expect(offered.includes(scene.note.id), `${name} completed from ${typed} to offer ${scene.note.id}`, offered);
  return offered;
}

async function completePrompts(scene) {
  const done = [];
  for (const prompt of scene.prompts) {
    const ref = { type: 'ref/prompt', name: prompt.name };
    for (const { name } of prompt.arguments ?? []) {
      if (IS_ID.test(name)) await completeId(scene, ref, name);
      else if (IS_TAG.test(name)) {
        const values = await complete(scene, ref, name, scene.tag.slice(0, -2));
        expect(values.includes(scene.tag), `${name} to offer ${scene.tag}`, values);
      } else await complete(scene, ref, name, '');
      done.push(`${prompt.name}.${name}`);
    }
  }
  expect(done.length > 0, 'prompts with arguments', scene.prompts);
  return done.join(' ');
}

async function completeTemplate(scene) {
  const ref = { type: 'ref/resource', uri: 'note:///{id}' };
  const offered = await completeId(scene, ref, 'id');
  const { contents } = await scene.client.readResource({ uri: `note:///${offered[0]}` });
  expect(contents.length === 1, 'an offered value to be readable', contents);
}

async function completeUnknown(scene) {
  const ref = { type: 'ref/prompt', name: 'shred_note' };
  await scene.protocolError(-32602, 'completion for an unknown prompt', () => complete(scene, ref, 'note_id', 'a'));
}
