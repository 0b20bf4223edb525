/**
 * Goal: from two records and the user's word follows what may be done with a difference, and never
 * that an older image is copied over a newer one. Method: the decisions one by one; then histories
 * of a pair at random, with every image's truth kept beside its record.
 */
import fc from 'fast-check';
import { unpaired } from '../../../src/block/record/image-record.js';
import { HISTORY_MAX, type PairRecord } from '../../../src/block/record/pair-record.js';
import {
  checkVouched,
  common,
  compare,
  firstRecord,
  nextBranch,
  permission,
  startObstacle,
  undecided,
} from '../../../src/colo/record.js';

const pair = '0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01';
const branch = (n: number) => n.toString(16).padStart(32, '0');
const first = firstRecord(pair, branch(1));
const second = nextBranch(first, branch(2));
const third = nextBranch(second, branch(3));
const other = nextBranch(first, branch(9));
const stranger = firstRecord(pair.replace('0b', '0c'), branch(1));

describe('which is newer', () => {
  test.each([
    [first, first, 'same'],
    [{ ...first, state: 'copying', partial: true }, first, 'same'],
    [third, first, 'ours-newer'],
    [first, third, 'theirs-newer'],
    [third, other, 'diverged'],
    [first, stranger, 'strangers'],
    [undefined, first, 'unknown'],
    [first, undefined, 'unknown'],
    [unpaired, unpaired, 'unknown'],
  ] as [PairRecord | undefined, PairRecord | undefined, string][])(
    '%j and %j: %s',
    (ours, theirs, relation) => {
      expect(compare(ours, theirs)).toBe(relation);
    },
  );

  test('further apart than the kept history they count as diverged', () => {
    let far = first;
    for (let n = 0; n < HISTORY_MAX; n++) far = nextBranch(far, branch(100 + n));
    expect([far.history.length, compare(far, first)]).toEqual([HISTORY_MAX, 'ours-newer']);
    expect(compare(nextBranch(far, branch(200)), first)).toBe('diverged');
  });
});

describe('what may be done with a difference', () => {
  test('without x-sync-from the older replica is overwritten, a newer one never', () => {
    expect(permission('d', first, first, undefined)).toBe('copy');
    expect(permission('d', third, first, undefined)).toBe('copy');
    expect(() => permission('d', second, third, undefined)).toThrow(
      "disk 'd': the secondary's image is of generation 3, this primary's of 2: the secondary " +
        'has gone on alone, and what is here is older. x-sync-from (--sync-from secondary, or ' +
        'primary)',
    );
    for (const theirs of [other, stranger, undefined])
      expect(permission('d', third, theirs, undefined)).toBe('if-equal');
    expect(permission('d', undefined, undefined, undefined)).toBe('if-equal');
  });

  test('x-sync-from goes before; half an image is no source', () => {
    expect(permission('d', first, third, 'primary')).toBe('copy');
    expect(permission('d', third, other, 'secondary')).toBe('copy-back');
    for (const half of [
      { ...third, partial: true },
      { ...third, state: 'copying' as const },
    ]) {
      expect(() => permission('d', first, half, 'secondary')).toThrow(
        'nothing can be copied from it',
      );
    }
  });

  test('a refusal says why nothing is decided', () => {
    expect(undecided('d', third, other, 512).message).toContain(
      "differs from the secondary's in 512 bytes, and both sides have gone on alone since " +
        'they were equal',
    );
    expect(undecided('d', first, stranger, 1).message).toContain('they belong to different pairs');
    expect(undecided('d', first, undefined, 1).message).toContain(
      'no record tells which of them is newer',
    );
  });

  test('x-assume-in-sync beats neither a mark nor a record that says otherwise', () => {
    expect(() => checkVouched('d', first, first)).not.toThrow();
    expect(() => checkVouched('d', first, undefined)).not.toThrow();
    for (const [theirs, why] of [
      [{ ...first, partial: true }, 'half copied'],
      [{ ...first, state: 'copying' as const }, 'half copied'],
      [{ ...unpaired, partial: true }, 'half copied'],
      [third, 'one side has gone on alone'],
      [stranger, 'different pairs'],
    ] as const) {
      expect(() => checkVouched('d', first, theirs)).toThrow(why);
    }
    expect(() => checkVouched('d', third, other)).toThrow('both sides have gone on alone');
  });
});

describe('several images of one side', () => {
  const image = (name: string, record: PairRecord | undefined) => ({ image: name, record });

  test('are one when they are on one branch; the most careful state counts', () => {
    expect(common([])).toBeUndefined();
    expect(common([image('a', undefined), image('b', unpaired)])).toBeUndefined();
    expect(
      common([image('a', first), image('b', { ...first, state: 'protected', partial: true })]),
    ).toMatchObject({ state: 'protected', partial: true });
    expect(
      common([
        image('a', { ...first, state: 'together' }),
        image('b', { ...first, state: 'protected' }),
      ]),
    ).toMatchObject({ state: 'protected' });
  });

  test('that do not belong together are named', () => {
    expect(() => common([image('a', first), image('b', third)])).toThrow(
      "images 'a' and 'b' do not belong together: they are of generations 1 and 3",
    );
    expect(() => common([image('a', third), image('b', other)])).toThrow('of different lines');
    expect(() => common([image('a', first), image('b', stranger)])).toThrow(
      'they belong to different pairs',
    );
  });
});

test('who may run by himself', () => {
  expect(
    [undefined, unpaired, first, { ...first, state: 'together' as const }]
      .map(startObstacle)
      .slice(2),
  ).toEqual([undefined, undefined]);
  expect(startObstacle(undefined)).toBeUndefined();
  expect(startObstacle({ ...first, state: 'protected' })).toContain(
    'had a secondary, which may have taken it over',
  );
  expect(startObstacle({ ...second, state: 'yielded' })).toContain('has taken this guest over');
  expect(startObstacle({ ...second, state: 'copying' })).toContain('half copied');
});

/** An image, its record, and the writes that it really holds. */
interface Image {
  record: PairRecord;
  holds: ReadonlySet<number>;
}

test('after any history: what is copied without x-sync-from holds all that it replaces', () => {
  const step = fc.record({
    what: fc.constantFrom('write', 'write', 'join', 'alone'),
    who: fc.nat(1),
  });
  const run = (steps: { what: string; who: number }[]) => {
    let names = 0;
    let primary: number | undefined = 0;
    const images: Image[] = [0, 1].map(() => ({ record: first, holds: new Set<number>() }));
    const mayWrite = (who: number) =>
      primary === undefined ? images[who].record.state === 'alone' : who === primary;
    for (const { what, who } of steps) {
      const [a, b] = [images[who], images[1 - who]];
      if (what === 'alone') {
        a.record = nextBranch(a.record, branch(++names + 1000));
        if (primary !== undefined) b.record = { ...b.record, state: 'protected' };
        primary = undefined;
      } else if (what === 'write' && mayWrite(who)) {
        a.holds = new Set([...a.holds, ++names]);
        if (primary !== undefined) b.holds = a.holds; // covered before anybody hears of it
      } else if (what === 'join' && primary === undefined && allowed(a, b)) {
        expect([...b.holds].filter(write => !a.holds.has(write))).toEqual([]);
        Object.assign(b, a);
        primary = who;
      }
    }
  };
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), run), { numRuns: 2000 });
});

function allowed(a: Image, b: Image): boolean {
  try {
    return permission('d', a.record, b.record, undefined) === 'copy';
  } catch {
    return false;
  }
}
