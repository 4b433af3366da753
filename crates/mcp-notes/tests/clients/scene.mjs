// What the steps of the story share: the connection, what they leave for one another, and the ways to call
// the server and to say what came instead of what was expected.

import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { expect, Mismatch, show } from './runner.mjs';
import { Wire } from './wire.mjs';

/** One run of the story: its connection, and what the steps leave for one another. */
export class Scene {
  /** The connection the story is told over; set by the first chapter. */
  main;
  wire = new Wire();
  /** Ids of the notes this run made, deleted at the end. */
  made = new Set();
  /** A tag that only notes of this run have. */
  tag = `drive-${randomUUID().slice(0, 8)}`;

  constructor(adapter, url, era, runner) {
    this.adapter = adapter;
    this.url = url;
    this.era = era;
    this.runner = runner;
  }

  get modern() {
    return this.era === 'modern';
  }

  get client() {
    return this.main.client;
  }

  step(name, body) {
    const before = this.wire.exchanges.items.length;
    return this.runner.step(`${this.adapter.name} ${this.era} ${name}`, body, () => this.wire.evidence(before));
  }

  /** Another connection of the same SDK and era, with its own recorder. */
  async another() {
    const wire = new Wire();
    const connection = await this.adapter.open(this.url, this.era, wire);
    return { ...connection, wire };
  }

  /** Calls a tool that must succeed and gives its structured content. */
  async call(name, args, client = this.client) {
    const result = await client.callTool({ name, arguments: args });
    const text = textOf(result.content);
    expect(result.isError !== true, `${name} to succeed`, text);
    expect(typeof result.structuredContent === 'object', `${name} to give structuredContent`, result);
    expect(same(text, result.structuredContent), `${name} to give the same as text`, result);
    return result.structuredContent;
  }

  /** Calls a tool whose result must be an error that the model can read, with a text that matches. */
  async refused(name, args, pattern) {
    let result;
    try {
      result = await this.client.callTool({ name, arguments: args });
    } catch (error) {
      throw new Mismatch(`${name} ${show(args, 200)} to give a result with isError`, error);
    }
    const text = textOf(result.content);
    expect(result.isError === true, `${name} ${show(args, 200)} to give isError`, result);
    expect(pattern.test(text), `the error of ${name} ${show(args, 200)} to match ${pattern}`, text);
    return text;
  }

  /** Runs a request that must fail with a JSON-RPC error; the code is the one on the wire. */
  async protocolError(code, what, request) {
    let result;
    try {
      result = await request();
    } catch (error) {
      const onWire = this.wire.lastError;
      expect(onWire !== undefined, `${what} to fail with a JSON-RPC error`, error);
      expect(onWire.code === code, `${what} to fail with code ${code}`, onWire);
      return onWire;
    }
    throw new Mismatch(`${what} to fail with code ${code}`, result);
  }

  /** Makes a note that is deleted at the end. */
  async make(note, client = this.client) {
    const made = await this.call('create_note', { tags: [this.tag], ...note }, client);
    this.made.add(made.id);
    return made;
  }

  /** A request to the REST API of the same server; gives status, headers and JSON body. */
  async rest(method, path, body) {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
    const response = await fetch(new URL(`/api/v1/notes${path}`, this.url), {
      method,
      headers: body === undefined ? {} : { 'content-type': type },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(5000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: text === '' ? undefined : JSON.parse(text) };
  }
}

/** Whether a text is JSON and means the same as a value. */
function same(text, value) {
  try {
    return isDeepStrictEqual(JSON.parse(text), value);
  } catch {
    return false;
  }
}

/** The text of all text blocks and text resources of a content array. */
export function textOf(content) {
  return (content ?? []).map((block) => block.text ?? block.resource?.text ?? '').join('\n');
}
