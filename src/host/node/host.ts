/** The real world. */
import type { Host } from '../ports.js';
import { NodeClock } from './clock.js';
import { nodeEntropy } from './entropy.js';
import { NodeFiles } from './files.js';
import { NodeShell } from './shell.js';
import { NodeSockets } from './sockets.js';
import { NodeTaps } from './taps.js';

export function nodeHost(): Host {
  return {
    clock: new NodeClock(),
    sockets: new NodeSockets(),
    files: new NodeFiles(),
    entropy: nodeEntropy,
    taps: new NodeTaps(),
    shell: new NodeShell(),
  };
}
