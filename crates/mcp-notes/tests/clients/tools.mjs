// Loads packages from where scripts/install-test-tools.sh put them, so that nothing is installed in the sources.

import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { existsSync } from 'node:fs';

const folder = process.env.TEST_TOOLS ?? fileURLToPath(new URL('../../../../.tools', import.meta.url));
const manifest = `${folder}/npm/package.json`;
if (!existsSync(manifest)) {
  console.error(`${manifest} is missing: run scripts/install-test-tools.sh first`);
  process.exit(2);
}

/** `require` as seen from the installed packages. */
export const load = createRequire(manifest);

/** The exact version the manifest pins for a package. */
export function version(name) {
  return load(manifest).dependencies[name];
}
