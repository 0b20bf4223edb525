/** A side of a pair as processes of this host, for its supervisor. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Held } from '../../arbiter/contract.js';
import { VmError } from '../../base/errors.js';
import type { PairRecord } from '../../block/record/pair-record.js';
import { fileHost } from '../../host/node/file-host.js';
import { connectQmp } from '../connect.js';
import { nameSocket } from '../names.js';
import type { Role } from '../options/spec.js';
import { lineOf, type VmLine } from '../survey.js';
import type { PairFile } from './read.js';
import { type Side, sideNameOf } from './side.js';
import type { Ended, StartedVm, SupervisedSide, SupervisorEvent } from './supervisor.js';

const QUIT_MS = 30_000;
const POLL_MS = 100;

/** A fence agent's record is this host's own, and says what it knew before it was lost. */
async function heldAt(address: string): Promise<Held | undefined> {
  const [{ parseArbiterAddress }, { openArbiter }, { nodeHost }] = await Promise.all([
    import('../../arbiter/address.js'),
    import('../../arbiter/open.js'),
    import('../../host/node/host.js'),
  ]);
  const arbiter = await openArbiter(parseArbiterAddress(address), nodeHost());
  try {
    return arbiter.keeps === 'shared' ? await arbiter.read() : undefined;
  } finally {
    arbiter.dispose();
  }
}

export class ProcessSide implements SupervisedSide {
  stopping = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly file: PairFile,
    readonly side: Side,
    readonly tell: (event: SupervisorEvent) => void,
  ) {}

  look(): Promise<VmLine | undefined> {
    return lineOf(sideNameOf(this.file.pair, this.side));
  }

  /** Of the first disk: all of a guest's have the same. */
  async record(): Promise<PairRecord | undefined> {
    const [disk] = this.file.pair.disks ?? [];
    if (!disk) return undefined;
    const path = resolve(
      dirname(this.file.path),
      this.side === 'a' ? disk.primary : disk.secondary,
    );
    if (!existsSync(path)) return undefined;
    const { ImageRecord } = await import('../../block/record/image-record.js');
    const image = await fileHost().files.open(path, { readOnly: true, lock: 'none' });
    try {
      const record = await ImageRecord.open(path, image.label);
      if (record.problem) throw record.problem;
      return record.value;
    } finally {
      await image.close();
    }
  }

  async isElsewhere(record: PairRecord): Promise<boolean> {
    const { pair } = this.file;
    if (pair.arbiter === undefined) return false;
    try {
      const held = await heldAt(pair.arbiter);
      return held?.record.vm === record.pair && held.record.owner === this.other;
    } catch {
      return false;
    }
  }

  private get other(): string {
    return sideNameOf(this.file.pair, this.side === 'a' ? 'b' : 'a');
  }

  /** It outlives this process, which may be started again. */
  start(role: Role): StartedVm {
    const { side, file } = this;
    const words = [role, '--config', file.path, '--side', side, '-rejoin'];
    if (file.insecure) words.push('-insecure');
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1], ...words], {
      detached: true,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const ended = new Promise<Ended>(done => {
      child.once('error', () => done({ code: 1 }));
      child.once('exit', code => done({ code: code ?? undefined }));
    });
    return { ended, end: () => void child.kill('SIGTERM') };
  }

  async quit({ name, pid }: VmLine): Promise<void> {
    const client = await connectQmp({ kind: 'unix', path: nameSocket(name) }, QUIT_MS);
    try {
      await client.execute('quit', undefined, QUIT_MS).catch(() => undefined);
    } finally {
      client.dispose();
    }
    for (const end = performance.now() + QUIT_MS; performance.now() < end;) {
      if (!(await this.look())) return;
      await this.sleep(POLL_MS);
    }
    throw new VmError(`${name} does not end: process ${pid}`, {
      hint: `Look at it with: colo status ${name}`,
    });
  }

  /** Until it is told to end, at most. */
  sleep(ms: number): Promise<void> {
    return new Promise(done => {
      const timer = setTimeout(done, ms);
      if (this.stopping) return;
      this.wake = () => {
        clearTimeout(timer);
        done();
      };
    });
  }

  /** A second time it is not waited for. */
  stop(): void {
    if (this.stopping) process.exit(1);
    this.stopping = true;
    this.wake();
  }
}
