/** Folders that all simulated hosts share: a file server at the end of the simulated network. */
import type { RecordFolder, RecordFolders } from '../../../src/host/ports.js';
import type { SimNetwork } from './network.js';
import type { SimNode } from './node.js';

export class SimFolders implements RecordFolders {
  constructor(
    private readonly node: SimNode,
    private readonly network: SimNetwork,
  ) {}

  open(path: string): RecordFolder {
    const { folders } = this.network;
    const files = folders.get(path) ?? new Map<string, Uint8Array>();
    folders.set(path, files);
    return {
      path,
      names: () => this.ask(() => [...files.keys()]),
      read: (name, bytesMax) => this.ask(() => files.get(name)?.subarray(0, bytesMax + 1)),
      add: (name, bytes) => {
        const content = Uint8Array.from(bytes);
        return this.ask(() => {
          if (files.has(name)) return false;
          files.set(name, content);
          return true;
        });
      },
      remove: name => this.ask(() => void files.delete(name)),
    };
  }

  /** The question reaches the server, and the answer comes back, when the network lets them. */
  private ask<T>(body: () => T): Promise<T> {
    const { node, network } = this;
    return new Promise(resolve => {
      if (node.dead) return;
      network.carry(() => {
        const answer = body();
        network.carry(() => node.deliver('input', () => resolve(answer)));
      });
    });
  }
}
