/** The real world. */
import type { Host } from '../ports.js';
import { NodeClock } from './clock.js';
import { nodeEntropy } from './entropy.js';
import { type FileSpeed, NodeFiles } from './files.js';
import { nodeHttp } from './http.js';
import { nodePrograms } from './programs.js';
import { nodeRecordFolders } from './record-folder.js';
import { NodeShell } from './shell.js';
import { NodeSockets } from './sockets.js';
import { NodeTaps } from './taps.js';
import { nodeUserNets } from './user-nets.js';

export function nodeHost(speed?: FileSpeed): Host {
  return {
    clock: new NodeClock(),
    sockets: new NodeSockets(),
    files: new NodeFiles(speed),
    entropy: nodeEntropy,
    taps: new NodeTaps(),
    userNets: nodeUserNets,
    shell: new NodeShell(),
    programs: nodePrograms,
    folders: nodeRecordFolders,
    http: nodeHttp,
  };
}
