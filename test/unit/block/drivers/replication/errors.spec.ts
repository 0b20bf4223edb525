/**
 * Goal: an error of an overlay or of the mark is not the end of the secondary disk: a decided
 * checkpoint stays decided, a takeover that failed is tried again, and nothing fails once the image
 * is whole. Method: a pair with qcow2 overlays over simulated files that fail.
 */
import { type Pair, KiB, MiB, startedPair } from '../../../../support/block-pair.js';
import { expectSame, pattern, turns } from '../../../../support/block-host.js';
import { LoggedFile, newImage } from '../../../../support/qcow2.js';

const a = pattern(4 * KiB, 100);
const b = pattern(4 * KiB, 101);
const drive =
  'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=qcow2,' +
  'file.file.filename=/active,file.backing.driver=qcow2,file.backing.file.filename=/hidden,' +
  'file.backing.backing=colo-disk0';
const overlays = ['/active', '/hidden'];

/**
 * All of an epoch has arrived: the secondary disk has its write, the hidden disk what was there
 * before.
 */
async function arrived(): Promise<Pair> {
  const overlay = new LoggedFile();
  await newImage({ size: MiB, clusterSize: 65536 }, overlay);
  const pair = await startedPair({
    secondaryDrive: drive,
    secondaryFiles: { '/active': overlay.data, '/hidden': overlay.data },
  });
  await pair.pvm.pwrite(0, b);
  await pair.p.cut().epochDone;
  return pair;
}

/** Changing these fails while when() says so. */
function spoil(
  { secondaryHost: { files } }: Pair,
  paths: readonly string[],
  message: string,
  when: (operation: string) => boolean = operation => operation !== 'write-label',
): void {
  files.fault = (operation, path) => {
    if (!operation.includes('read') && paths.includes(path) && when(operation))
      throw new Error(message);
  };
}
/** What says that the image must not boot. */
const marked = ({ secondaryHost: { files } }: Pair) =>
  files.inodes.get('/s.img')?.label !== undefined;
const mend = ({ secondaryHost: { files } }: Pair) => (files.fault = () => undefined);

function expectWhole(pair: Pair): void {
  expectSame(pair.secondaryHost.files.durable('/s.img'), pair.primaryHost.files.bytes('/p.img'));
  expect(marked(pair)).toBe(false);
}

async function expectUsable({ svm }: Pair): Promise<void> {
  await svm.pwrite(512, a);
  expectSame(
    await svm.pread(0, 4 * KiB),
    Buffer.concat([b.subarray(0, 512), a]).subarray(0, 4 * KiB),
  );
}

test(
  'a checkpoint counts from the call: a failover needs nothing of overlays that cannot be ' +
    'emptied',
  async () => {
    const pair = await arrived();
    spoil(pair, overlays, 'No space left on device');
    for (let i = 0; i < 2; i++)
      await expect(pair.s.checkpoint()).rejects.toThrow('No space left on device');
    await pair.s.stop(true);
    expectWhole(pair);
    await expectUsable(pair);
  },
);

test('emptying is tried again by the next call, and then the next epoch is undone to this one', async () => {
  const pair = await arrived();
  spoil(pair, overlays, 'No space left on device');
  await expect(pair.s.checkpoint()).rejects.toThrow('No space left on device');
  mend(pair);
  await pair.s.checkpoint();
  pair.p.committed();
  const expected = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
  await pair.pvm.pwrite(0, a);
  await pair.p.cut().epochDone;
  await pair.s.stop(true);
  expectSame(pair.secondaryHost.files.durable('/s.img'), expected);
});

test('a failover waits for no overlay that takes for ever', async () => {
  const pair = await arrived();
  const { files } = pair.secondaryHost;
  let release!: () => void;
  const gate = new Promise<void>(resolve => (release = resolve));
  files.delay = path => (overlays.includes(path ?? '') ? gate : Promise.resolve());
  const emptied = pair.s.checkpoint();
  await turns(20);
  await pair.s.stop(true);
  expectWhole(pair);
  await expectUsable(pair);
  release();
  await emptied;
  expectSame(await pair.svm.pread(512, a.length), a);
});

test('once the image is whole and says so, an overlay that cannot be emptied is no failure', async () => {
  const pair = await arrived();
  const { files } = pair.secondaryHost;
  spoil(pair, overlays, 'Input/output error', () => !marked(pair));
  await pair.s.stop(true);
  await turns(20);
  expectSame(files.durable('/s.img'), pattern(MiB));
  await pair.svm.pwrite(0, a);
  expectSame(await pair.svm.pread(0, a.length), a);
});

test.each([
  ['the mark', 'write-label', 'Input/output error'],
  ['the merge', 'pwrite', 'No space left on device'],
])(
  'a takeover that fails at %s fails what waits for it, and is tried again',
  async (_what, failing, message) => {
    const pair = await arrived();
    spoil(pair, ['/s.img'], message, operation => operation === failing);
    const stopped = expect(pair.s.stop(true)).rejects.toThrow(message);
    await expect(pair.svm.pwrite(0, a)).rejects.toThrow(message);
    await stopped;
    await expect(pair.svm.pwrite(0, a)).rejects.toThrow(message);
    mend(pair);
    await pair.s.stop(true);
    await pair.svm.pwrite(0, a);
    expectSame(await pair.svm.pread(0, a.length), a);
    expect(marked(pair)).toBe(false);
  },
);

test('an end without failover that fails is tried again, and replication starts anew', async () => {
  const pair = await arrived();
  const { files } = pair.secondaryHost;
  spoil(pair, ['/s.img'], 'Input/output error');
  await expect(pair.s.stop(false)).rejects.toThrow('Input/output error');
  mend(pair);
  expect(marked(pair)).toBe(true);
  await pair.s.stop(false);
  expectSame(files.durable('/s.img'), pattern(MiB));
  await pair.s.start();
  await pair.s.stop(true);
  expectSame(files.durable('/s.img'), pattern(MiB));
});
