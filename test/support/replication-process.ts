/**
 * One side of a replicated disk, as a process that can be killed: `primary DIR` writes and takes
 * checkpoints, `secondary DIR [qcow2]` follows. Each speaks with its parent in lines of JSON and
 * knows nothing of the other but the NBD socket. Not a test by itself.
 */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { parseDrive } from '../../src/block/options/options.js';
import { nodeHost } from '../../src/host/node/host.js';
import { LANES, writeOf } from './replication-load.js';

type Order = {
  commit?: { epoch: number; count: number };
  committed?: number;
  failover?: true;
  finish?: true;
};

const [role, dir, overlays] = process.argv.slice(2);
const inFiles =
  `file.driver=qcow2,file.file.filename=${dir}/a.qcow2,file.backing.driver=qcow2,` +
  `file.backing.file.filename=${dir}/h.qcow2,file.backing.backing=c`;
const CHECKPOINT_MS = 20;
const say = (message: object) => void process.stdout.write(`${JSON.stringify(message)}\n`);
const orders = (take: (order: Order) => Promise<void>) =>
  createInterface({ input: process.stdin }).on(
    'line',
    line => void take(JSON.parse(line) as Order).catch(fail),
  );
const fail = (error: unknown) => {
  say({ failed: error instanceof Error ? error.message : String(error) });
  process.exit(1);
};

async function secondary(): Promise<void> {
  const layer = new BlockLayer(nodeHost());
  await layer.addDrive(parseDrive(`if=none,id=c,file.filename=${dir}/s.img,driver=raw`));
  await layer.addDrive(
    parseDrive(
      'if=virtio,id=a,driver=replication,mode=secondary,' +
        (overlays === 'qcow2' ? inFiles : 'file=c'),
    ),
  );
  layer.claim('a', 'guest');
  await layer.nbd.start({ kind: 'unix', path: join(dir, 'export') });
  layer.nbdServerAdd({ device: 'c', writable: true });
  const [disk] = layer.secondaryDisks();
  await disk.start();
  let turn = Promise.resolve();
  orders(order => (turn = turn.then(() => obey(order))));
  const obey = async ({ commit, failover }: Order) => {
    if (commit) {
      if (disk.arrived() !== commit.count)
        throw new Error(
          `epoch ${commit.epoch}: ${disk.arrived()} writes arrived, ${commit.count} were counted`,
        );
      await disk.checkpoint();
      say({ committed: commit.epoch });
    }
    if (failover) {
      await disk.stop(true);
      await layer.close();
      say({ done: true });
      process.exit(0);
    }
  };
  say({ ready: true });
}

async function primary(): Promise<void> {
  const layer = new BlockLayer(nodeHost());
  await layer.addDrive(
    parseDrive(
      'if=virtio,id=c,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
        `children.0.file.filename=${dir}/p.img,children.0.driver=raw`,
    ),
  );
  const guest = layer.claim('c', 'guest');
  await layer.driveAdd(
    `driver=replication,mode=primary,file.driver=nbd,file.path=${dir}/export,file.export=c,` +
      'node-name=n,if=none',
    { noBackend: true },
  );
  await layer.blockdevChange({ parent: 'c', node: 'n' });
  const [disk] = layer.primaryDisks();
  await disk.start();

  const counts = Array.from({ length: LANES }, () => 0);
  let running = true;
  let lanes: Promise<void>[] = [];
  const lane = async (which: number) => {
    while (running) {
      const { offset, data } = writeOf(which, counts[which]);
      await guest.pwrite(offset, data);
      counts[which]++;
    }
  };
  const resume = () => {
    running = true;
    lanes = counts.map((_, which) => lane(which));
  };
  const stop = async () => {
    running = false;
    await Promise.all(lanes);
  };
  let committed: () => void = () => undefined;
  let finishing = false;
  orders(async ({ committed: epoch, finish }) => {
    if (epoch !== undefined) committed();
    if (!finish) return;
    finishing = true;
    await stop();
    await guest.flush();
    say({ done: true, counts });
    process.exit(0);
  });
  say({ ready: true });
  resume();
  for (let epoch = 1; !finishing; epoch++) {
    await new Promise(resolve => setTimeout(resolve, CHECKPOINT_MS));
    if (finishing) return;
    await stop();
    const { epochDone } = disk.cut();
    const then = [...counts];
    if (!finishing) resume();
    try {
      const count = await epochDone;
      const answered = new Promise<void>(resolve => (committed = resolve));
      say({ cut: { epoch, count }, counts: then });
      const lost = new Promise<never>((_, reject) => {
        const look = setInterval(
          () => disk.error() && (clearInterval(look), reject(disk.error()!)),
          10,
        );
        void answered.then(() => clearInterval(look));
      });
      await Promise.race([answered, lost]);
      disk.committed();
    } catch (error) {
      say({ lost: (error as Error).message });
      await disk.stop();
      return;
    }
  }
}

await (role === 'primary' ? primary() : secondary()).catch(fail);
