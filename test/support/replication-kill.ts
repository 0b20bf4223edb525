/**
 * One run of a replicated disk in two processes: a load, checkpoints, kill -9 of one side, and what
 * the survivor's image must be.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { defaultCreateOptions } from '../../src/block/drivers/qcow2/create.js';
import { createImage } from '../../src/block/image/open.js';
import { ImageRecord } from '../../src/block/record/image-record.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { nodeHost } from '../../src/host/node/host.js';
import { DISK_BYTES, imageAfter } from './replication-load.js';

export interface KillPlan {
  /** both: the secondary dies while it takes over. */
  victim: 'primary' | 'secondary' | 'both';
  /** After the first checkpoint. */
  afterMs: number;
  /** Of the secondary. In qcow2 they outlive it: what it leaves behind is judged too. */
  overlays?: 'memory' | 'qcow2';
  /** Of both: so long after the failover was ordered. */
  mergeMs?: number;
}

export interface KillResult {
  /** Empty: every promise was kept. */
  violations: string[];
  epochs: number;
  writes: number;
}

interface Said {
  ready?: true;
  cut?: { epoch: number; count: number };
  counts?: number[];
  committed?: number;
  done?: true;
  lost?: string;
  failed?: string;
}

const script = fileURLToPath(new URL('replication-process.ts', import.meta.url));
const BOUND_MS = 30_000;

/** It holds part of an epoch. */
async function marked(image: string): Promise<boolean> {
  const file = await nodeHost().files.open(image, { readOnly: true, lock: 'none' });
  const record = await ImageRecord.open(image, file.label).finally(() => file.close());
  return record.partial;
}

/**
 * The images that somebody finds afterwards, laid over each other again: the last checkpoint,
 * whatever was under way.
 */
async function leftBehind(dir: string): Promise<Buffer> {
  const layer = new BlockLayer(nodeHost());
  try {
    await layer.blockdevAdd({
      driver: 'raw',
      'node-name': 's',
      'read-only': true,
      file: { driver: 'file', filename: join(dir, 's.img') },
    });
    if (!(await marked(join(dir, 's.img'))))
      return await layer.graph.node('s').pread(0, DISK_BYTES);
    await layer.blockdevAdd({
      driver: 'qcow2',
      'node-name': 'h',
      'read-only': true,
      file: { driver: 'file', filename: join(dir, 'h.qcow2') },
      backing: 's',
    });
    return await layer.graph.node('h').pread(0, DISK_BYTES);
  } finally {
    await layer.close();
  }
}

export async function runWithKill(plan: KillPlan): Promise<KillResult> {
  const dir = await mkdtemp(join(tmpdir(), 'colo-kill-'));
  for (const image of ['p.img', 's.img'])
    await writeFile(join(dir, image), Buffer.alloc(DISK_BYTES));
  const overlays = plan.overlays ?? 'memory';
  if (overlays === 'qcow2')
    for (const name of ['a.qcow2', 'h.qcow2'])
      await createImage(nodeHost(), join(dir, name), 'qcow2', {
        ...defaultCreateOptions,
        size: DISK_BYTES,
      });
  const secondary = new Side('secondary', dir, overlays);
  let primary: Side | undefined;
  try {
    await secondary.until(said => said.ready);
    primary = new Side('primary', dir);
    await primary.until(said => said.ready);
    return await killed(plan, primary, secondary, dir);
  } finally {
    await Promise.all([primary?.kill(), secondary.kill()]);
    await rm(dir, { recursive: true });
  }
}

async function killed(
  plan: KillPlan,
  primary: Side,
  secondary: Side,
  dir: string,
): Promise<KillResult> {
  const cuts = new Map<number, number[]>([[0, []]]);
  let committed = 0;
  primary.onSaid = ({ cut, counts }) => {
    if (!cut) return;
    cuts.set(cut.epoch, counts!);
    secondary.order({ commit: cut });
  };
  secondary.onSaid = said => {
    if (said.committed === undefined) return;
    committed = said.committed;
    primary.order({ committed });
  };
  await secondary.until(said => said.committed);
  await new Promise(resolve => setTimeout(resolve, plan.afterMs));
  if (plan.victim === 'both') {
    await primary.kill();
    secondary.order({ failover: true });
    await new Promise(resolve => setTimeout(resolve, plan.mergeMs ?? 0));
    await secondary.kill();
    return nearest(await leftBehind(dir), cuts, committed, 'both: the images of the secondary');
  }
  if (plan.victim === 'primary') {
    await primary.kill();
    secondary.order({ failover: true });
    await secondary.until(said => said.done);
    return verdict(
      await readFile(join(dir, 's.img')),
      cuts.get(committed)!,
      committed,
      `the secondary, after epoch ${committed}`,
    );
  }
  await secondary.kill();
  await primary.until(said => said.lost);
  await new Promise(resolve => setTimeout(resolve, 100));
  primary.order({ finish: true });
  const { counts } = await primary.until(said => said.done);
  const behind =
    plan.overlays === 'qcow2'
      ? nearest(await leftBehind(dir), cuts, committed, 'the images of the dead secondary')
          .violations
      : [];
  const kept = verdict(await readFile(join(dir, 'p.img')), counts!, committed, 'the primary');
  return { ...kept, violations: [...behind, ...kept.violations] };
}

/** A checkpoint that was being made may have been completed, or not. */
function nearest(
  image: Buffer,
  cuts: ReadonlyMap<number, number[]>,
  committed: number,
  who: string,
): KillResult {
  const next = cuts.get(committed + 1);
  const late = next && verdict(image, next, committed + 1, who);
  return late?.violations.length === 0
    ? late
    : verdict(image, cuts.get(committed)!, committed, who);
}

function verdict(image: Buffer, counts: number[], epochs: number, who: string): KillResult {
  const expected = imageAfter(counts);
  const violations: string[] = [];
  for (let at = 0; at < expected.length && violations.length < 5; at += 4096) {
    if (expected.compare(image, at, at + 4096, at, at + 4096) === 0) continue;
    violations.push(
      `${who}: block ${at / 4096} holds write ${image.readUInt32BE(at + 4)} of lane ` +
        `${image.readUInt32BE(at)} instead of ${expected.readUInt32BE(at + 4)} of ` +
        `${expected.readUInt32BE(at)}`,
    );
  }
  return { violations, epochs, writes: counts.reduce((sum, count) => sum + count, 0) };
}

class Side {
  private readonly child: ChildProcess;
  private readonly gone: Promise<unknown>;
  private readonly heard: Said[] = [];
  private waiter?: () => void;
  onSaid: (said: Said) => void = () => undefined;

  constructor(
    private readonly role: string,
    dir: string,
    overlays = 'memory',
  ) {
    const env = { ...process.env, NODE_OPTIONS: '' };
    this.child = spawn(
      process.execPath,
      ['--import', 'tsx', '--disable-warning=ExperimentalWarning', script, role, dir, overlays],
      { env, stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.gone = once(this.child, 'exit');
    this.child.stdin!.on('error', () => undefined);
    createInterface({ input: this.child.stdout! }).on('line', line => {
      const said = JSON.parse(line) as Said;
      this.heard.push(said);
      this.onSaid(said);
      this.waiter?.();
    });
  }

  order(order: object): void {
    this.child.stdin!.write(`${JSON.stringify(order)}\n`);
  }

  /** What it says, or said already. */
  async until(wanted: (said: Said) => unknown): Promise<Said> {
    const endMs = performance.now() + BOUND_MS;
    for (;;) {
      const failed = this.heard.find(said => said.failed !== undefined);
      if (failed) throw new Error(`${this.role}: ${failed.failed}`);
      const found = this.heard.find(wanted);
      if (found) return found;
      if (performance.now() > endMs) throw new Error(`${this.role} is silent for ${BOUND_MS} ms`);
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, 200);
        this.waiter = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.gone;
  }
}
