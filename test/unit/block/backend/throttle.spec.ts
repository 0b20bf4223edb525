/**
 * Goal: limits hold over any second, bursts last as long as they may, and no request waits without
 * need. Method: a clock that the test moves.
 */
import { Throttle } from '../../../../src/block/backend/throttle.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { OptionTree } from '../../../../src/block/options/option-tree.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { makeLimits, readThrottling } from '../../../../src/block/options/throttle-limits.js';
import { ManualClock, pattern, testHost, turns } from '../../../support/block-host.js';

const limits = (options: string) =>
  readThrottling(
    OptionTree.parse(
      options
        .split(',')
        .map(o => `throttling.${o}`)
        .join(','),
    ),
  )!.limits;

/** Completion times of so many requests asked for at once. */
async function times(
  options: string,
  requests: number,
  bytes: number,
  forMs: number,
  direction: 'read' | 'write' = 'read',
) {
  const clock = new ManualClock();
  await clock.advance(1000);
  const throttle = new Throttle(clock, limits(options), 'g');
  const done: number[] = [];
  for (let n = 0; n < requests; n++)
    void throttle.admit(direction, bytes).then(() => done.push(clock.nowMs() - 1000));
  for (let ms = 0; ms < forMs; ms += 10) await clock.advance(10);
  return done;
}

test('bytes a second: a tenth of a second at once, then the rate', async () => {
  const done = await times('bps-total=100000', 1000, 1000, 2000);
  expect(done.filter(t => t < 10).length).toBeLessThanOrEqual(12);
  expect(done.filter(t => t >= 1000 && t < 2000).length).toBeGreaterThanOrEqual(95);
  expect(done.length).toBeLessThanOrEqual(100 * 2 + 12);
});

test('a burst: max for its seconds, then the average', async () => {
  const done = await times(
    'iops-total=10,iops-total-max=100,iops-total-max-length=3',
    2000,
    512,
    12_000,
  );
  const within = (from: number, to: number) =>
    done.filter(t => t >= from * 1000 && t < to * 1000).length;
  expect(within(0, 2)).toBeGreaterThan(180);
  expect(within(0, 3)).toBeLessThanOrEqual(330);
  expect(within(8, 12)).toBeGreaterThanOrEqual(38);
  expect(within(8, 12)).toBeLessThanOrEqual(42);
});

test('iops-size: a large request counts as several; reads do not wait for writes', async () => {
  expect(
    (await times('iops-read=10,iops-size=4096', 1000, 40_960, 10_000)).length,
  ).toBeLessThanOrEqual(13);
  expect((await times('iops-write=10', 500, 512, 100)).length).toBe(500);
  expect((await times('iops-write=10', 500, 512, 1000, 'write')).length).toBeLessThanOrEqual(13);
});

test('new limits hold for what waits already; a drain lets it go; zero is no limit', async () => {
  const clock = new ManualClock();
  const throttle = new Throttle(clock, limits('iops-total=1'), 'g');
  let done = 0;
  const ask = (n: number) =>
    Array.from({ length: n }, () => void throttle.admit('write', 512).then(() => done++));
  ask(20);
  await turns(5);
  expect(done).toBeLessThan(5);
  throttle.configure(makeLimits(() => ({})));
  await turns(50);
  expect(done).toBe(20);
  throttle.configure(limits('iops-total=1'));
  ask(20);
  await turns(5);
  expect(done).toBeLessThan(25);
  const close = throttle.open();
  await turns(50);
  expect(done).toBe(40);
  close();
  ask(5);
  await turns(50);
  expect(done).toBeLessThan(45);
});

test.each([
  ['bps-total=1,bps-read=1', 'cannot be used at the same time'],
  ['bps-total-max=100', 'bps_max/iops_max require corresponding'],
  ['bps-total=100,bps-total-max=10', 'cannot be lower than bps/iops'],
  ['bps-total=100,bps-total-max-length=5', 'burst length set without burst rate'],
  ['bps-total=100,bps-total-max=200,bps-total-max-length=0', 'burst length cannot be 0'],
  ['bps-total=100,iops-size=4096', 'iops size requires an iops value'],
  ['bps=5', "'throttling.bps' is not known"],
])('refused: %s', (options, message) => expect(() => limits(options)).toThrow(message));

describe('drives', () => {
  async function two(a: string, b: string) {
    const host = testHost();
    const layer = new BlockLayer(host);
    for (const [id, more] of [
      ['a', a],
      ['b', b],
    ]) {
      host.files.put(`/${id}`, pattern(65536));
      await layer.addDrive(parseDrive(`if=none,id=${id},driver=raw,file.filename=/${id}${more}`));
    }
    return { host, layer, a: layer.claim('a', 'va'), b: layer.claim('b', 'vb') };
  }

  test('of one group share its budget', async () => {
    const { host, a, b } = await two(
      ',throttling.iops-total=10,throttling.group=g',
      ',throttling.iops-total=10,throttling.group=g',
    );
    let done = 0;
    for (let n = 0; n < 50; n++) void (n % 2 ? a : b).pread(0, 512).then(() => done++);
    for (let ms = 0; ms < 2000; ms += 20) await host.clock.advance(20);
    expect(done).toBeGreaterThanOrEqual(20);
    expect(done).toBeLessThanOrEqual(24);
  });

  test('limits set while running, shown, and taken away; a drain does not wait for them', async () => {
    const { host, layer, a, b } = await two('', ',throttling.bps-write=1000');
    layer.setThrottle(
      'a',
      makeLimits(name => (name === 'iops-total' ? { avg: 1 } : {})),
    );
    expect(layer.queryBlock().map(info => info.throttle?.group)).toEqual(['a', 'b']);
    let done = 0;
    for (let n = 0; n < 10; n++) void a.pread(0, 512).then(() => done++);
    await turns(20);
    expect(done).toBeLessThan(4);
    layer.setThrottle(
      'a',
      makeLimits(() => ({})),
    );
    await turns(50);
    expect(done).toBe(10);
    expect(layer.queryBlock()[0].throttle).toBeUndefined();
    for (let n = 0; n < 10; n++) void b.pwrite(0, pattern(4096)).then(() => done++);
    await b.drain();
    expect(done).toBe(20);
    expect(host.clock.nowMs()).toBe(0);
  });

  test('counters: what was done, what failed, what was refused', async () => {
    const { host, layer, a } = await two('', '');
    host.files.delay = () => new Promise(resolve => void host.clock.timer(5, resolve));
    const timed = async (request: Promise<unknown>) => {
      const settled = request.catch(() => undefined);
      for (let step = 0; step < 2; step++) {
        await turns(10);
        await host.clock.advance(5);
      }
      await settled;
    };
    await timed(a.pwrite(4096, pattern(1024)));
    await timed(a.pread(0, 512));
    await timed(a.flush());
    await timed(a.discard(0, 4096));
    host.files.fault = () => {
      throw new Error('broken');
    };
    await timed(a.pread(0, 512));
    await timed(a.pread(65536, 512));
    const { stats } = layer.backend('a');
    expect(stats.of('write')).toEqual({
      operations: 1,
      bytes: 1024,
      ns: 5e6,
      failed: 0,
      invalid: 0,
    });
    expect(stats.of('read')).toEqual({
      operations: 1,
      bytes: 512,
      ns: 10e6,
      failed: 1,
      invalid: 1,
    });
    expect([stats.of('flush').operations, stats.of('unmap').bytes, stats.highestWrite]).toEqual([
      1, 4096, 5120,
    ]);
    await host.clock.advance(7);
    expect(stats.idleNs).toBe(17e6);
  });

  test('block_resize: the device gets the new length; other users of the node are named', async () => {
    const { host, layer, a } = await two('', '');
    let told = 0;
    a.onResize(() => told++);
    await layer.resize('a', 131_072);
    expect([a.length, told, host.files.bytes('/a').length]).toEqual([131_072, 1, 131_072]);
    await expect(layer.resize('b', -1)).rejects.toThrow("'size'");
    await expect(layer.resize('nobody', 512)).rejects.toThrow(
      "Cannot find device='nobody' nor node-name='nobody'",
    );
    const file = layer.queryBlock()[1].inserted!.children[0]['node-name'];
    await expect(layer.resize(file, 512)).rejects.toThrow(/in use by node '#block\d+'/);
  });
});
