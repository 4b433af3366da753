// Runs the steps of a story one after another, each under its own deadline and all under one, and prints
// one line for each. A failed step says what was expected and what came; the steps after it still run.

/** Seconds for each era; `--seconds N` changes it. */
const SECONDS_DEFAULT = 30;
/** Milliseconds for one step. */
const STEP_MS_MAX = 10_000;

/** A step found something other than what it expected. */
export class Mismatch extends Error {
  constructor(expected, came) {
    super(`expected ${expected}; came ${show(came)}`);
    this.expected = expected;
    this.came = came;
  }
}

/** Throws a Mismatch unless `condition` holds. */
export function expect(condition, expected, came) {
  if (!condition) throw new Mismatch(expected, came);
}

/** A value as short text for a message. */
export function show(value, max = 1200) {
  let text;
  if (value instanceof Error) {
    text = `${value.name}${value.code === undefined ? '' : ` (code ${value.code})`}: ${value.message}`;
  } else {
    text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  }
  return text.length > max ? `${text.slice(0, max)}... (${text.length} characters)` : text;
}

/** Reads `URL [--era modern|legacy] [--seconds N]`. */
export function readArguments(eras) {
  const words = process.argv.slice(2);
  const options = { url: undefined, eras, seconds: SECONDS_DEFAULT };
  while (words.length > 0) {
    const word = words.shift();
    if (word === '--era' && eras.includes(words[0])) options.eras = [words.shift()];
    else if (word === '--seconds' && Number(words[0]) > 0) options.seconds = Number(words.shift());
    else if (!word.startsWith('--') && options.url === undefined) options.url = word;
    else usage(eras);
  }
  if (options.url === undefined) usage(eras);
  options.seconds *= options.eras.length;
  return options;
}

function usage(eras) {
  console.error(`usage: node ${process.argv[1]} URL [--era ${eras.join('|')}] [--seconds N]`);
  process.exit(2);
}

/** Collects the outcome of steps. */
export class Runner {
  #passed = 0;
  #failed = 0;
  #current = 'start';

  /** Ends the program with 124 when `seconds` have passed, whatever it is doing. */
  constructor(seconds) {
    const started = Date.now();
    this.started = started;
    setTimeout(() => {
      console.log(`FAIL ${this.#current}\n  expected: the whole story within ${seconds} s\n  came: it still ran`);
      process.exit(124);
    }, seconds * 1000).unref();
    process.on('unhandledRejection', (reason) => {
      this.#failed += 1;
      console.log(`FAIL ${this.#current}\n  expected: no stray rejection\n  came: ${show(reason)}`);
    });
  }

  /**
   * Runs one step. `body` returns a few words for the line, `evidence` returns text that helps when it fails.
   * Returns whether it passed.
   */
  async step(name, body, evidence = () => '') {
    this.#current = name;
    const started = Date.now();
    let timer;
    const deadline = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Mismatch(`an end within ${STEP_MS_MAX} ms`, 'none')), STEP_MS_MAX);
    });
    try {
      const words = await Promise.race([body(), deadline]);
      this.#passed += 1;
      console.log(`ok   ${name}${words ? `: ${words}` : ''} (${Date.now() - started} ms)`);
      return true;
    } catch (error) {
      this.#failed += 1;
      if (error instanceof Mismatch) {
        console.log(`FAIL ${name}\n  expected: ${error.expected}\n  came: ${show(error.came)}`);
      } else {
        console.log(`FAIL ${name}\n  expected: no error\n  came: ${show(error)}`);
      }
      const more = evidence();
      if (more) console.log(more);
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Prints the sum and ends the program: 0 when every step passed. */
  finish() {
    console.log(`${this.#passed} passed, ${this.#failed} failed, ${Date.now() - this.started} ms`);
    process.exit(this.#failed === 0 && this.#passed > 0 ? 0 : 1);
  }
}

/** Things that arrive, and waiting for one of them. */
export class Inbox {
  items = [];
  #waiting = new Set();

  push(item) {
    this.items.push(item);
    for (const look of this.#waiting) look();
  }

  /** Everything so far is forgotten. */
  clear() {
    this.items.length = 0;
  }

  /** The first item that `test` accepts, already here or within `ms`; a Mismatch naming `expected` otherwise. */
  waitFor(test, expected, ms = 5000) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.items.find(test);
        if (found === undefined) return false;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(found);
        return true;
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Mismatch(`${expected} within ${ms} ms`, this.items));
      }, ms);
      if (!look()) this.#waiting.add(look);
    });
  }
}
