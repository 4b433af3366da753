// A person with a browser, without the browser: follows an authorization request through the login and consent
// pages of the authorization server and gives the address to which the person is sent back.

import { expect } from '../runner.mjs';

const HOPS_MAX = 20;

/** One person, whom the authorization server recognises by its cookies. */
export class Person {
  #cookies = new Map();

  constructor(login) {
    this.login = login;
  }

  /** Opens `url` and does what the pages ask for, until it leads to `redirectUrl`. */
  async authorize(url, redirectUrl) {
    let next = { url: new URL(url) };
    for (let hop = 0; hop < HOPS_MAX; hop += 1) {
      const response = await this.#visit(next);
      const location = response.headers.get('location');
      if (location !== null) {
        next = { url: new URL(location, next.url) };
        if (next.url.href.startsWith(redirectUrl)) return next.url;
        continue;
      }
      const page = await response.text();
      expect(response.status === 200, 'a page', `${response.status} ${page}`);
      const action = /<form[^>]* action="([^"]+)"/.exec(page);
      const prompt = /name="prompt" value="(login|consent)"/.exec(page);
      expect(action !== null && prompt !== null, 'a page that asks to log in or to consent', page);
      const form = { prompt: prompt[1] };
      if (form.prompt === 'login') Object.assign(form, { login: this.login, password: 'x' });
      next = { url: new URL(action[1], next.url), form };
    }
    expect(false, `an end within ${HOPS_MAX} hops`, next.url.href);
  }

  async #visit({ url, form }) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, {
      method: form === undefined ? 'GET' : 'POST',
      headers: { cookie },
      body: form === undefined ? undefined : new URLSearchParams(form),
      redirect: 'manual',
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      this.#cookies.set(name, value);
    }
    return response;
  }
}
