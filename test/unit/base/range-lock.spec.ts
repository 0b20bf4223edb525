/**
 * Goal: overlapping ranges exclude each other in order of arrival, others do not wait. Method:
 * bodies that end when told, and random histories.
 */
import fc from 'fast-check';
import { RangeLock } from '../../../src/base/range-lock.js';
import { turns } from '../../support/block-host.js';

function gate() {
  let open!: () => void;
  return { wait: new Promise<void>(resolve => (open = resolve)), open: () => open() };
}

test('readers share, a writer waits for them, a later reader for the writer', async () => {
  const lock = new RangeLock();
  const log: string[] = [];
  const [first, writer] = [gate(), gate()];
  const enter = (name: string, hold?: Promise<void>) => async () => {
    log.push(name);
    await hold;
  };
  const all = [
    lock.run(0, 10, 'shared', enter('r1', first.wait)),
    lock.run(5, 10, 'shared', enter('r2')),
    lock.run(8, 4, 'exclusive', enter('w', writer.wait)),
    lock.run(0, 10, 'shared', enter('r3')),
    lock.run(20, 10, 'exclusive', enter('far')),
  ];
  await turns(1);
  expect(log).toEqual(['r1', 'r2', 'far']);
  first.open();
  await turns(1);
  expect(log).toEqual(['r1', 'r2', 'far', 'w']);
  writer.open();
  await Promise.all(all);
  expect(log[4]).toBe('r3');
});

test('a body that fails gives its range back', async () => {
  const lock = new RangeLock();
  await expect(lock.run(0, 1, 'exclusive', () => Promise.reject(new Error('no')))).rejects.toThrow(
    'no',
  );
  await lock.runAll('exclusive', async () => undefined);
});

test('random histories: no two that conflict are inside together, and everybody gets in', async () => {
  const entry = fc.record({
    start: fc.nat(20),
    length: fc.integer({ min: 1, max: 8 }),
    exclusive: fc.boolean(),
    stay: fc.nat(4),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 30 }), async entries => {
      const lock = new RangeLock();
      const inside = new Set<(typeof entries)[number]>();
      await Promise.all(
        entries.map(e =>
          lock.run(e.start, e.length, e.exclusive ? 'exclusive' : 'shared', async () => {
            for (const other of inside)
              if (other.start < e.start + e.length && e.start < other.start + other.length)
                expect(e.exclusive || other.exclusive).toBe(false);
            inside.add(e);
            await turns(e.stay);
            inside.delete(e);
          }),
        ),
      );
    }),
    { numRuns: 40 },
  );
});
