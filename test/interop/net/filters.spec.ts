/**
 * Goal: frames on a socket, and what filters send over character devices, are QEMU's. Method: a
 * stock QEMU with a filter-mirror and a filter-redirector, its netdev at the other end of ours: a
 * frame goes through its mirror into our redirector, one from our mirror through its redirector
 * back to our netdev. Skipped by name without qemu-system-x86_64.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asVmError } from '../../../src/base/errors.js';
import type { Stdio } from '../../../src/chardev/contract.js';
import { Chardevs } from '../../../src/vm/chardevs.js';
import { defaultLimits } from '../../../src/vm/host.js';
import { Network } from '../../../src/vm/network.js';
import { objectsOf } from '../../../src/vm/objects.js';
import { noCredentials } from '../../../src/host/credentials.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Host, Tap } from '../../../src/host/ports.js';
import { readChardev } from '../../../src/vm/objects/chardevs.js';
import { readNetdev } from '../../../src/vm/objects/netdevs.js';

const withQemu =
  spawnSync('sh', ['-c', 'command -v qemu-system-x86_64']).status === 0 ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-net-'));
afterAll(() => rmSync(dir, { recursive: true }));

async function until(condition: () => boolean, what: string): Promise<void> {
  for (
    const deadline = performance.now() + 20_000;
    !condition();
    await new Promise(resolve => setTimeout(resolve, 10))
  )
    if (performance.now() > deadline) throw new Error(`${what}: it never came`);
}

/** QEMU is coming up. */
async function eventually(attempt: () => Promise<void>): Promise<void> {
  for (
    const deadline = performance.now() + 20_000;
    ;
    await new Promise(resolve => setTimeout(resolve, 20))
  ) {
    const error = await attempt().then(
      () => undefined,
      (e: unknown) => e,
    );
    if (error === undefined) return;
    if (performance.now() > deadline) throw asVmError(error);
  }
}

withQemu(
  'through the filters of a stock QEMU and back (skipped without qemu-system-x86_64)',
  async () => {
    const port = 20_000 + (process.pid % 40_000);
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        '-accel',
        'tcg',
        '-M',
        'pc',
        '-nodefaults',
        '-display',
        'none',
        '-monitor',
        'none',
        '-netdev',
        `socket,id=hn0,listen=127.0.0.1:${port}`,
        '-device',
        'virtio-net-pci,netdev=hn0',
        '-chardev',
        `socket,id=m0,path=${dir}/m0,server=on,wait=off`,
        '-object',
        'filter-mirror,id=f0,netdev=hn0,queue=tx,outdev=m0',
        '-chardev',
        `socket,id=r0,path=${dir}/r0,server=on,wait=off`,
        '-object',
        'filter-redirector,id=f1,netdev=hn0,queue=rx,indev=r0',
      ],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    const ended = new Promise(resolve => qemu.once('close', resolve));
    const note = (line: string) => void notes.push(line);
    const notes: string[] = [];
    const host = {
      clock: new NodeClock(),
      sockets: new NodeSockets(),
      taps: {
        open: (): Tap => ({
          ifname: 't',
          onFrame: () => undefined,
          write: () => true,
          pause: () => undefined,
          resume: () => undefined,
          dispose: () => undefined,
        }),
      },
    } as unknown as Host;
    const network = await Network.create(
      { netdevs: [readNetdev('tap,id=inner,script=no,downscript=no')] },
      { ...host, limits: defaultLimits, note },
    );
    const chardevs = await Chardevs.create([], {
      ...host,
      credentials: noCredentials,
      stdio: {} as Stdio,
      log: note,
    });
    const objects = objectsOf({ ...host, note }, () => ({ net: network, chardevs }));
    try {
      for (const id of ['m0', 'r0'])
        await eventually(() =>
          chardevs.add(id, readChardev(`socket,id=${id},path=${dir}/${id}`).backend),
        );
      await eventually(() => network.add(readNetdev(`socket,id=wire,connect=127.0.0.1:${port}`)));
      const got: Record<string, Buffer[]> = { wire: [], inner: [] };
      for (const id of ['wire', 'inner']) {
        const netdev = network.claim(id, 'nic');
        netdev.attachNic({
          mac: Buffer.from('525400123456', 'hex'),
          receive: f => got[id].push(Buffer.from(f)) > 0,
          announce: () => undefined,
        });
        netdev.setRunning(true);
      }
      await objects.objectAddText('filter-redirector,id=in,netdev=inner,queue=tx,indev=m0');
      await objects.objectAddText('filter-mirror,id=out,netdev=inner,queue=rx,outdev=r0');
      const there = [60, 1514, 9000].map((length, n) => Buffer.alloc(length, n + 1));
      const back = [60, 1514, 9000].map((length, n) => Buffer.alloc(length, n + 101));
      for (const frame of there) network.netdevs.find(n => n.id === 'wire')?.send(frame);
      await until(() => got.inner.length === 3, 'through its mirror');
      expect(got.inner).toEqual(there);
      for (const frame of back) network.netdevs.find(n => n.id === 'inner')?.send(frame);
      await until(() => got.wire.length === 3, 'through its redirector');
      expect(got.wire).toEqual(back);
      expect([
        objects.get('in', 'received'),
        objects.get('out', 'sent'),
        objects.get('out', 'dropped'),
        notes,
      ]).toEqual([3, 3, 0, []]);
    } finally {
      objects.dispose();
      await chardevs.close();
      network.close();
      qemu.kill('SIGKILL');
      await ended;
    }
  },
  60_000,
);
