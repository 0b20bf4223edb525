/**
 * A guest's write under replication: by itself, with a replica at hand, with one 5 ms away; and
 * emptied overlays.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import type { Sockets, Stream } from '../../../src/host/ports.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { median, type Row } from './rows.js';
import { secondaryOf } from './secondary.js';

const MIB = 1024 * 1024;
const BYTES = 64 * MIB;
const FAR_MS = 5;
/**
 * What an epoch changes before the overlays are emptied, MiB; the second by the first bounds the
 * growth of the time.
 */
const HELD_MIB = [4, 32] as const;

/** Bytes from the server come that much later. */
function distant(sockets: Sockets): Sockets {
  const later = (stream: Stream): Stream => ({
    ...forwarded(stream),
    onData: fn => stream.onData(bytes => void setTimeout(() => fn(bytes), FAR_MS)),
  });
  return {
    connect: async (address, options) => later(await sockets.connect(address, options)),
    listen: (address, fn) => sockets.listen(address, fn),
  };
}

const forwarded = (s: Stream): Stream => ({
  peer: s.peer,
  get pending() {
    return s.pending;
  },
  write: bytes => s.write(bytes),
  onData: fn => s.onData(fn),
  onEnd: fn => s.onEnd(fn),
  pause: () => s.pause(),
  resume: () => s.resume(),
  end: () => s.end(),
  destroy: () => s.destroy(),
  dispose: () => s.dispose(),
});

export async function replicationRows(dir: string, { writes }: { writes: number }): Promise<Row[]> {
  const alone = await local(dir, writes);
  const near = await written(dir, writes, false);
  const far = await written(dir, writes, true);
  const { emptyMs, heldMs } = await emptying(dir);
  return [
    {
      name: 'guest write 4k, replica at hand, against no replica',
      unit: 'us',
      ours: near,
      theirs: alone,
      ratio: alone / near,
    },
    {
      name: `guest write 4k, replica ${FAR_MS} ms away, against at hand`,
      unit: 'us',
      ours: far,
      theirs: near,
      ratio: near / far,
      target: `far below ${FAR_MS * 1000} us`,
    },
    { name: 'emptying overlays that hold nothing', unit: 'ms', ours: emptyMs, target: '< 1 ms' },
    {
      name: `emptying overlays that hold ${HELD_MIB[1]} MiB, against ${HELD_MIB[0]} MiB`,
      unit: 'ms',
      ours: heldMs[1],
      theirs: heldMs[0],
      ratio: heldMs[0] / heldMs[1],
      target: `>= ${HELD_MIB[0] / HELD_MIB[1]}x`,
    },
  ];
}

async function timed(count: number, write: (n: number) => Promise<void>): Promise<number> {
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const startMs = performance.now();
    await write(n);
    took.push((performance.now() - startMs) * 1000);
  }
  return median(took);
}

const data = Buffer.alloc(4096, 7);
const block = Buffer.alloc(MIB, 9);
const place = (n: number) => ((n * 7919) % (BYTES / 4096)) * 4096;

async function local(dir: string, writes: number): Promise<number> {
  await writeFile(join(dir, 'l.img'), Buffer.alloc(BYTES));
  const layer = new BlockLayer(nodeHost());
  const disk = await layer.addDrive(
    parseDrive(
      'if=none,id=d,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
        `children.0.file.filename=${dir}/l.img,children.0.driver=raw`,
    ),
  );
  const us = await timed(writes, n => disk.pwrite(place(n), data));
  await layer.close();
  return us;
}

/** What the guest waits for, with the replica in another process. */
async function written(dir: string, writes: number, far: boolean): Promise<number> {
  await images(dir);
  const path = join(dir, `replica-${far}`);
  const replica = spawn(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(new URL('replica.ts', import.meta.url)), dir, path],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const gone = once(replica, 'exit');
  await Promise.race([
    once(replica.stdout, 'data'),
    gone.then(() => Promise.reject(new Error('the replica ended'))),
  ]);
  const { layer, disk, replicated: p } = await primary(dir, path, far);
  await p.start();
  const us = await timed(writes, n => disk.pwrite(place(n), data));
  await layer.close();
  replica.stdin.end();
  await gone;
  return us;
}

async function primary(dir: string, path: string, far: boolean) {
  const host = nodeHost();
  const layer = new BlockLayer(far ? { ...host, sockets: distant(host.sockets) } : host);
  await layer.addDrive(
    parseDrive(
      'if=virtio,id=c,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
        `children.0.file.filename=${dir}/p.img,children.0.driver=raw`,
    ),
  );
  const disk = layer.claim('c', 'guest');
  await layer.driveAdd(
    `driver=replication,mode=primary,file.driver=nbd,file.path=${path},file.export=c,` +
      'node-name=n,if=none',
    { noBackend: true },
  );
  await layer.blockdevChange({ parent: 'c', node: 'n' });
  return { layer, disk, replicated: layer.primaryDisks()[0] };
}

/** Not zeroes: an overlay would keep those without their bytes. */
async function images(dir: string): Promise<void> {
  for (const image of ['p.img', 's.img']) await writeFile(join(dir, image), Buffer.alloc(BYTES, 1));
}

async function emptying(dir: string): Promise<{ emptyMs: number; heldMs: number[] }> {
  await images(dir);
  const path = join(dir, 'export');
  const { layer: secondary, disk: s } = await secondaryOf(dir, path);
  const { layer, disk, replicated: p } = await primary(dir, path, false);
  await p.start();
  const emptied = async () => {
    const startMs = performance.now();
    await s.checkpoint();
    return performance.now() - startMs;
  };
  const held = () => secondary.backend('a').node.driver.describe()['hidden-bytes'];
  /**
   * holds: what the epoch must have left in the hidden disk, or the time of its emptying says
   * nothing.
   */
  const checkpoint = async (holds?: number) => {
    await p.cut().epochDone;
    if (holds !== undefined)
      assert.equal(held(), holds, 'the hidden disk does not hold what was overwritten');
    const tookMs = await emptied();
    assert.equal(held(), 0, 'the hidden disk was not emptied');
    p.committed();
    return tookMs;
  };
  const empty: number[] = [];
  for (let n = 0; n < 50; n++) empty.push(await emptied());
  const heldMs: number[] = [];
  for (const mib of HELD_MIB) {
    const rounds: number[] = [];
    for (let n = 0; n < 7; n++) {
      for (let at = 0; at < mib * MIB; at += MIB) await disk.pwrite(at, block);
      rounds.push(await checkpoint(mib * MIB));
    }
    heldMs.push(median(rounds));
  }
  await s.stop(false);
  await layer.close();
  await secondary.close();
  return { emptyMs: median(empty), heldMs };
}
