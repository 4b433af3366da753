// Drives the server with the OAuth flow of the official TypeScript SDK 2.x against a real authorization server:
// discovery from the 401, PKCE, registration, audience, tools, step-up, and new keys while everything runs.
// Arguments: the URL of the server's MCP endpoint, then the issuer.

import { expect, Runner, show } from '../runner.mjs';
import { load, version } from '../tools.mjs';
import { CLIENT_ID, REDIRECT_URL } from './client.mjs';
import { Person } from './person.mjs';

const { Client, StreamableHTTPClientTransport, UnauthorizedError } = load('@modelcontextprotocol/client');

const [url, issuer] = process.argv.slice(2);
const SECONDS = 100;

/** What an application that uses the SDK keeps for one person. */
class Account {
  redirectUrl = REDIRECT_URL;
  clientMetadata = {
    client_name: 'desk',
    redirect_uris: [REDIRECT_URL],
    grant_types: ['authorization_code'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
  #kept;

  /** Without a `client` it registers itself. */
  constructor(client) {
    this.#kept = { client };
  }

  clientInformation = () => this.#kept.client;
  saveClientInformation = (client) => void (this.#kept.client = client);
  tokens = () => this.#kept.tokens;
  saveTokens = (tokens) => void (this.#kept.tokens = tokens);
  codeVerifier = () => this.#kept.verifier;
  saveCodeVerifier = (verifier) => void (this.#kept.verifier = verifier);
  discoveryState = () => this.#kept.discovery;
  saveDiscoveryState = (discovery) => void (this.#kept.discovery = discovery);
  redirectToAuthorization = (address) => void (this.authorization = address);
  forgetTokens = () => void (this.#kept.tokens = undefined);
}

/** What crosses the wire, in order: `METHOD status URL` and the bodies of forms. */
const seen = [];
const tap = async (input, init = {}) => {
  const response = await fetch(input, init);
  const form = init.body instanceof URLSearchParams ? init.body : undefined;
  seen.push({ method: init.method ?? 'GET', status: response.status, url: String(input), form, response });
  return response;
};

// A client that registers itself does so with the scope that it asks for first, and this authorization server then
// grants it no other: whoever is to step up is registered by hand.
let account = new Account({ client_id: CLIENT_ID });
const person = new Person('alice');
const runner = new Runner(SECONDS);

/** A client and its transport, not connected. */
function open(era) {
  const client = new Client(
    { name: 'desk', version: version('@modelcontextprotocol/client') },
    { versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' } },
  );
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: account, fetch: tap });
  return { client, transport };
}

/** Does `work`, which must fail because the person has to be asked; then lets the person answer. */
async function askedFor(transport, work) {
  account.authorization = undefined;
  let failure;
  await work().catch((error) => (failure = error));
  const isAsking = failure instanceof UnauthorizedError || failure?.cause instanceof UnauthorizedError;
  expect(isAsking && account.authorization !== undefined, 'a request for authorization', failure);
  const asked = account.authorization.searchParams;
  const back = await person.authorize(account.authorization, REDIRECT_URL);
  expect(back.searchParams.has('code'), 'a code', back.href);
  await transport.finishAuth(back.searchParams);
  return asked;
}

/** Connects, with a person who is asked first. */
async function connect(era) {
  const first = open(era);
  const asked = await askedFor(first.transport, () => first.client.connect(first.transport));
  const second = open(era);
  await second.client.connect(second.transport);
  return { ...second, asked };
}

const claims = () => JSON.parse(Buffer.from(account.tokens().access_token.split('.')[1], 'base64url'));
const header = () => JSON.parse(Buffer.from(account.tokens().access_token.split('.')[0], 'base64url'));

let session;

await runner.step('a client without a token finds out how to get one, and gets it', async () => {
  session = await connect('modern');
  const { asked } = session;
  expect(asked.get('code_challenge_method') === 'S256', 'PKCE', asked.toString());
  expect(asked.get('resource') === url, `a token for ${url}`, asked.get('resource'));
  expect(asked.get('scope') === 'notes:read', 'the scope to begin with', asked.get('scope'));
  const [first, second] = seen;
  expect(first.status === 401, '401 at first', first);
  const challenge = first.response.headers.get('www-authenticate');
  expect(challenge.includes(second.url), 'the metadata that the challenge names', [challenge, second.url]);
  expect(second.status === 200, 'metadata', second.status);
  const exchange = seen.find(({ form }) => form?.get('grant_type') === 'authorization_code');
  expect(exchange?.form.get('resource') === url, 'the resource in the token request', show(exchange?.form));
  return challenge;
});

await runner.step('the token is for this server and for nothing else', async () => {
  const { aud, iss, scope } = claims();
  expect(aud === url && iss === issuer, `${issuer} for ${url}`, { aud, iss });
  expect(scope === 'notes:read', 'notes:read', scope);
  expect(header().typ === 'at+jwt', 'an access token', header());
});

await runner.step('a token that allows reading reads', async () => {
  const result = await session.client.callTool({ name: 'list_notes', arguments: {} });
  expect(result.isError !== true, 'a list', result);
});

const note = { name: 'create_note', arguments: { title: 'OAuth', content: 'written after step-up' } };

await runner.step('writing asks for more, and for what was granted too', async () => {
  const before = seen.length;
  const asked = await askedFor(session.transport, () => session.client.callTool(note));
  const refused = seen.slice(before).find(({ status }) => status === 403);
  const challenge = refused?.response.headers.get('www-authenticate') ?? '';
  expect(challenge.includes('error="insufficient_scope"'), 'a challenge with 403', challenge);
  expect(challenge.includes('scope="notes:read notes:write"'), 'granted and needed scopes', challenge);
  expect(asked.get('scope') === 'notes:read notes:write', 'both scopes asked for', asked.get('scope'));
  expect(claims().scope === 'notes:read notes:write', 'both scopes granted', claims().scope);
  return challenge;
});

await runner.step('then the note is written, and it is still readable', async () => {
  const written = await session.client.callTool(note);
  expect(written.isError !== true, 'a note', written);
  const found = await session.client.callTool({ name: 'list_notes', arguments: {} });
  expect(show(found).includes('OAuth'), 'the note in the list', found);
});

await runner.step('deleting is not included in writing', async () => {
  const before = seen.length;
  account.authorization = undefined;
  const gone = session.client.callTool({ name: 'delete_note', arguments: { id: 'x' } });
  await gone.catch(() => undefined);
  const refused = seen.slice(before).find(({ status }) => status === 403);
  const challenge = refused?.response.headers.get('www-authenticate') ?? '';
  const all = 'scope="notes:delete notes:read notes:write"';
  expect(challenge.includes(all), all, challenge);
});

await runner.step('the issuer gets new keys, and a token signed with them counts at once', async () => {
  const before = header().kid;
  const rotated = await fetch(`${issuer}/rotate`, { method: 'POST' });
  expect(rotated.status === 204, 'new keys', rotated.status);
  const old = await session.client.callTool({ name: 'list_notes', arguments: {} });
  expect(old.isError !== true, 'the old token to count as long as its key is known', old);
  await session.client.close();
  account.forgetTokens();
  session = await connect('modern');
  expect(header().kid !== before, 'another key', header());
  const result = await session.client.callTool({ name: 'list_notes', arguments: {} });
  expect(show(result).includes('OAuth'), 'the same person with the same notes', result);
  await session.client.close();
});

await runner.step('a client of the older revisions that nobody knows registers itself and comes in too', async () => {
  account = new Account();
  session = await connect('legacy');
  const result = await session.client.callTool({ name: 'list_notes', arguments: {} });
  expect(show(result).includes('OAuth'), 'the same notes', result);
  expect(claims().client_id !== CLIENT_ID, 'a client of its own', claims());
  await session.client.close();
});

await runner.step('another person has other notes', async () => {
  const other = new Person('bob');
  account = new Account();
  const first = open('modern');
  await first.client.connect(first.transport).catch(() => undefined);
  const back = await other.authorize(account.authorization, REDIRECT_URL);
  await first.transport.finishAuth(back.searchParams);
  const second = open('modern');
  await second.client.connect(second.transport);
  expect(claims().sub === 'bob', 'bob', claims());
  const result = await second.client.callTool({ name: 'list_notes', arguments: {} });
  expect(!show(result).includes('OAuth'), 'no note of alice', result);
  await second.client.close();
});

runner.finish();
