/**
 * The world of a tool that works on files: what it takes to speak to the network is loaded when it
 * is wanted, which is seldom.
 */
import type { Host } from '../ports.js';
import { NodeClock } from './clock.js';
import { NodeFiles } from './files.js';

export type FileHost = Pick<Host, 'clock' | 'files' | 'sockets'>;

export function fileHost(): FileHost {
  const sockets = async () => new (await import('./sockets.js')).NodeSockets();
  return {
    clock: new NodeClock(),
    files: new NodeFiles(),
    sockets: {
      connect: async (address, options) => (await sockets()).connect(address, options),
      listen: async (address, onStream) => (await sockets()).listen(address, onStream),
    },
  };
}
