/**
 * A QMP server on a socket file, over a fake machine: for programs that talk to it from outside.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CharPorts } from '../../src/chardev/contract.js';
import { createChardev } from '../../src/chardev/create.js';
import { NodeClock } from '../../src/host/node/clock.js';
import { NodeSockets } from '../../src/host/node/sockets.js';
import { monitorRegistry } from '../../src/monitor/commands/all.js';
import { QmpServer } from '../../src/monitor/qmp/server.js';
import { type RememberingVm, rememberingVm } from './remembering-vm.js';

export interface FakeQmp {
  vm: RememberingVm;
  /** Of its own, for the test's files too. */
  dir: string;
  path: string;
  close(): void;
}

export async function fakeQmp(): Promise<FakeQmp> {
  const dir = mkdtempSync(join(tmpdir(), 'colo-qmp-'));
  const path = join(dir, 'qmp');
  const vm = rememberingVm();
  const world = {
    sockets: new NodeSockets(),
    clock: new NodeClock(),
    log: () => undefined,
  } as unknown as CharPorts;
  const chr = await createChardev(
    'c0',
    { kind: 'socket', address: { kind: 'unix', path }, server: true, wait: false, reconnectMs: 0 },
    world,
  );
  const server = new QmpServer(vm, monitorRegistry, chr, { wallMs: () => 0, log: () => undefined });
  const close = () => {
    for (const item of [chr, server]) item.dispose();
    rmSync(dir, { recursive: true });
  };
  return { vm, dir, path, close };
}
