// Records what crosses the wire below an SDK, because an SDK hides some of it: error codes it rewrites,
// members it strips, the status of a GET. It is given to a transport as its `fetch`.

import { Inbox, show } from './runner.mjs';

/** One recorder for one client. */
export class Wire {
  /** Exchanges in order: `{ method, headers, body, status, type, sessionId, messages }`. */
  exchanges = new Inbox();

  fetch = async (input, init = {}) => {
    const exchange = {
      method: init.method ?? 'GET',
      headers: Object.fromEntries(new Headers(init.headers)),
      body: parsed(init.body),
      status: undefined,
      messages: [],
    };
    let response;
    try {
      response = await fetch(input, init);
    } catch (error) {
      if (init.signal?.aborted !== true) this.exchanges.push({ ...exchange, status: show(error) });
      throw error;
    }
    exchange.status = response.status;
    exchange.type = response.headers.get('content-type') ?? '';
    exchange.sessionId = response.headers.get('mcp-session-id');
    this.exchanges.push(exchange);
    return response.body === null ? response : tapped(response, exchange);
  };

  /** Every JSON-RPC message that came back, in order. */
  get received() {
    return this.exchanges.items.flatMap((exchange) => exchange.messages);
  }

  /** The JSON-RPC error that came last. */
  get lastError() {
    return this.received.findLast((message) => message.error !== undefined)?.error;
  }

  /** The session id the server gave, if it gave one. */
  get sessionId() {
    return this.exchanges.items.find((exchange) => exchange.sessionId !== null && exchange.sessionId !== undefined)
      ?.sessionId;
  }

  /** The last exchange after the first `before` that was a POST, as text for a failure. */
  evidence(before) {
    const last = this.exchanges.items.slice(before).findLast((exchange) => exchange.method === 'POST');
    if (last === undefined) return '';
    return `  last request: ${show(last.body)}\n  its answer: ${last.status} ${last.type ?? ''} ${show(last.messages)}`;
  }
}

function parsed(text) {
  if (typeof text !== 'string') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The same response, whose body is also read into `exchange.messages` as it passes. */
function tapped(response, exchange) {
  const decoder = new TextDecoder();
  const events = exchange.type.startsWith('text/event-stream');
  let pending = '';
  const take = (text) => {
    const message = parsed(text);
    if (message !== undefined && message !== '') exchange.messages.push(message);
  };
  const tap = new TransformStream({
    transform(chunk, controller) {
      pending += decoder.decode(chunk, { stream: true });
      if (events) {
        const blocks = pending.split(/\r?\n\r?\n/);
        pending = blocks.pop();
        for (const block of blocks) {
          const data = block.split(/\r?\n/).filter((line) => line.startsWith('data:'));
          take(data.map((line) => line.slice(5).trimStart()).join('\n'));
        }
      }
      controller.enqueue(chunk);
    },
    flush() {
      if (!events) take(pending);
    },
  });
  const copy = new Response(response.body.pipeThrough(tap), response);
  Object.defineProperty(copy, 'url', { value: response.url });
  return copy;
}
