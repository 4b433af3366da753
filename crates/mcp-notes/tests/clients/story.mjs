// What every TypeScript client goes through, from connecting to leaving. An adapter (`open`) hides how the two
// SDKs differ; the steps are in `story/`.

import { connect } from './story/connect.mjs';
import { notes } from './story/notes.mjs';
import { resources } from './story/resources.mjs';
import { prompts } from './story/prompts.mjs';
import { changes } from './story/changes.mjs';
import { leave } from './story/leave.mjs';
import { Scene } from './scene.mjs';

/** Tells the whole story to the server at `url` in one era. */
export async function tell(adapter, url, era, runner) {
  const scene = new Scene(adapter, url, era, runner);
  for (const chapter of [connect, notes, resources, prompts, changes, leave]) {
    await chapter(scene);
    // Without a connection or a note, the rest could only fail for the same reason.
    if (scene.main === undefined || (chapter === notes && scene.note === undefined)) return;
  }
}
