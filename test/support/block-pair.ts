/**
 * A primary and a secondary block layer, joined by NBD over the simulated network, as the
 * two-command procedure sets them up.
 */
import { Events } from '../../src/base/events.js';
import { decodePairRecord } from '../../src/block/record/pair-record.js';
import type { PrimaryDisk, SecondaryDisk } from '../../src/block/contract/replicated.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { parseDrive } from '../../src/block/options/options.js';
import type { BlockBackend } from '../../src/block/contract/backend.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import {
  type Cutter,
  LoopSockets,
  MemoryFiles,
  ManualClock,
  pattern,
  type TestHost,
} from './block-host.js';

export interface Pair {
  primary: BlockLayer;
  secondary: BlockLayer;
  primaryHost: TestHost;
  secondaryHost: TestHost;
  events: Events<QmpEvents>;
  /** The guests' ends. */
  pvm: BlockBackend;
  svm: BlockBackend;
  p: PrimaryDisk;
  s: SecondaryDisk;
}

export const KiB = 1024;
export const MiB = 1024 * 1024;
export const EXPORT = { kind: 'tcp', host: '10.0.0.2', port: 8889 } as const;

export interface PairOptions {
  image?: Buffer;
  secondaryImage?: Buffer;
  cut?: Cutter;
  secondaryDrive?: string;
  secondaryFiles?: Readonly<Record<string, Buffer>>;
  replica?: string;
}

/** Up to the point where both sides could start: replica attached, nothing started. */
export async function attachedPair(options: PairOptions = {}): Promise<Pair> {
  const image = options.image ?? pattern(MiB);
  const sockets = new LoopSockets(options.cut);
  const primaryHost = { clock: new ManualClock(), files: new MemoryFiles(), sockets };
  const secondaryHost = { clock: new ManualClock(), files: new MemoryFiles(), sockets };
  primaryHost.files.put('/p.img', image);
  secondaryHost.files.put('/s.img', options.secondaryImage ?? image);
  for (const [path, data] of Object.entries(options.secondaryFiles ?? {}))
    secondaryHost.files.put(path, data);
  const events = new Events<QmpEvents>();
  const primary = new BlockLayer(primaryHost, events);
  const secondary = new BlockLayer(secondaryHost);

  await secondary.addDrive(
    parseDrive('if=none,id=colo-disk0,file.filename=/s.img,driver=raw,node-name=node0'),
  );
  await secondary.addDrive(
    parseDrive(
      options.secondaryDrive ??
        'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=memory,' +
          'file.backing=colo-disk0',
    ),
  );
  const svm = secondary.claim('active-disk0', 'virtio-disk0');
  await secondary.nbd.start(EXPORT);
  secondary.nbdServerAdd({ device: 'colo-disk0', writable: true });

  await primary.addDrive(
    parseDrive(
      'if=virtio,id=colo-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
        'children.0.file.filename=/p.img,children.0.driver=raw',
    ),
  );
  const pvm = primary.claim('colo-disk0', 'virtio-disk0');
  await primary.driveAdd(
    options.replica ??
      'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
        'file.export=colo-disk0,node-name=node0,if=none',
  );
  await primary.blockdevChange({ parent: 'colo-disk0', node: 'node0' });
  const [p] = primary.primaryDisks();
  const [s] = secondary.secondaryDisks();
  return { primary, secondary, primaryHost, secondaryHost, events, pvm, svm, p, s };
}

export async function startedPair(options: PairOptions = {}): Promise<Pair> {
  const pair = await attachedPair(options);
  await pair.s.start();
  await pair.p.start();
  return pair;
}

/** One whole checkpoint of the disk, as colo does it. */
export async function checkpoint({ p, s, primary }: Pair): Promise<void> {
  await primary.drain();
  const count = await p.cut().epochDone;
  await s.seal(count);
  await s.checkpoint();
  p.committed();
}

/** The image says that it holds part of an epoch. */
export function marked({ secondaryHost }: { secondaryHost: TestHost }): boolean {
  const label = secondaryHost.files.inodes.get('/s.img')!.label;
  return label !== undefined && decodePairRecord(label).partial;
}

/** The secondary's files stand still until the returned function is called. */
export function hold(host: { files: { delay: () => Promise<void> } }): () => void {
  let open!: () => void;
  const gate = new Promise<void>(resolve => (open = resolve));
  host.files.delay = () => gate;
  return () => {
    host.files.delay = () => Promise.resolve();
    open();
  };
}
