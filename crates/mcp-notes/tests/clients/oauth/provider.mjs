// A real authorization server on a free port of 127.0.0.1: oidc-provider with its own login pages, one client that is
// registered by hand and others that register themselves, PKCE, and access tokens that are JWTs for the resource that was asked for. Its first line
// of output is its issuer. `POST /rotate` gives it new keys, as an operator would.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { load } from '../tools.mjs';
import { CLIENT_ID, REDIRECT_URL } from './client.mjs';

const { Provider } = load('oidc-provider');

const SCOPES = 'notes:read notes:write notes:delete notes:admin';
const MINUTES = 60;

function newKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
}

/** The settings that docs/oauth.md asks an authorization server for. */
function provider(issuer) {
  return new Provider(issuer, {
    jwks: { keys: [newKey()] },
    cookies: { keys: [randomUUID()] },
    scopes: ['openid', ...SCOPES.split(' ')],
    clients: [
      {
        client_id: CLIENT_ID,
        redirect_uris: [REDIRECT_URL],
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    features: {
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => ({
          scope: SCOPES,
          audience: resource,
          accessTokenTTL: 10 * MINUTES,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    ttl: { AccessToken: 10 * MINUTES, Grant: 10 * MINUTES, Interaction: 10 * MINUTES, Session: 10 * MINUTES },
  });
}

let answer;
const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/rotate') {
    answer = provider(issuer).callback();
    response.writeHead(204).end();
  } else {
    answer(request, response);
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
answer = provider(issuer).callback();
console.log(issuer);
// It ends with the test that started it.
process.stdin.on('end', () => process.exit(0)).resume();
