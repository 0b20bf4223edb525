/** What a process of colo does first. */
import { ownStandardStreams } from './own-stdio.js';
import { showSourceStacks } from './source-stacks.js';

export { cachePath, loadCached } from './cached-script.js';

export function startProcess(): void {
  ownStandardStreams();
  showSourceStacks();
}
