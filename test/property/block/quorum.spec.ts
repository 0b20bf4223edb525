/**
 * Goal: a voting quorum never gives the guest anything but what it wrote, whichever of its children
 * fail, and fails no request that enough of them can serve. Method: random requests over three
 * children with errors injected by sector, type and turn, against a flat array.
 */
import fc from 'fast-check';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { expectSame, pattern, testHost, turns } from '../../support/block-host.js';

const SECTORS = 32;
const SIZE = SECTORS * 512;
const fault = fc.record({
  event: fc.constantFrom('read_aio', 'write_aio'),
  sector: fc.nat(SECTORS - 1),
  once: fc.boolean(),
});
const faults = fc.array(fault, { maxLength: 4 });
const request = fc.record({
  what: fc.constantFrom('write', 'zero', 'read', 'read'),
  first: fc.nat(SECTORS - 1),
  n: fc.integer({ min: 1, max: 12 }),
  seed: fc.nat(100),
});
type Faults = { event: string; sector: number; once: boolean }[];
type Request = { what: string; first: number; n: number; seed: number };

function child(n: number, rules: Faults): string {
  const injected = rules.map(({ event, sector, once }, i) => {
    const rule = `,children.${n}.file.inject-error.${i}`;
    const when = `${rule}.event=${event}${rule}.sector=${sector}`;
    return `${when}${rule}.once=${once ? 'on' : 'off'}${rule}.immediately=on`;
  });
  return (
    `children.${n}.driver=raw,children.${n}.file.driver=blkdebug,` +
    `children.${n}.file.image.filename=/${n}${injected.join('')}`
  );
}

async function play(
  rules: Faults[],
  requests: Request[],
  rewrite: boolean,
  mayFail: boolean,
): Promise<void> {
  const host = testHost();
  for (let n = 0; n < 3; n++) host.files.put(`/${n}`, pattern(SIZE));
  let turn = 0;
  host.files.delay = () => turns(turn++ % 3);
  const layer = new BlockLayer(host);
  const children = rules.map((list, n) => child(n, list)).join(',');
  const mend = rewrite ? 'on' : 'off';
  await layer.addDrive(
    parseDrive(`id=q,driver=quorum,vote-threshold=2,rewrite-corrupted=${mend},${children}`),
  );
  const guest = layer.claim('q', 'disk0');
  const model = pattern(SIZE);
  /** A write failed there: old and new may both stand. */
  const unsure = new Set<number>();
  for (const { what, first, n, seed } of requests) {
    const [offset, end] = [first, Math.min(first + n, SECTORS)].map(sector => sector * 512);
    const sectors = Array.from({ length: (end - offset) / 512 }, (_, i) => first + i);
    const failed = (error: Error) => {
      if (!mayFail) throw error;
      return undefined;
    };
    if (what === 'read') {
      const got = await guest.pread(offset, end - offset).catch(failed);
      if (got)
        for (const s of sectors.filter(each => !unsure.has(each)))
          expectSame(
            got.subarray(s * 512 - offset, s * 512 - offset + 512),
            model.subarray(s * 512, s * 512 + 512),
          );
      continue;
    }
    const data = what === 'zero' ? Buffer.alloc(end - offset) : pattern(end - offset, seed);
    const done = await (
      what === 'zero' ? guest.writeZeroes(offset, end - offset) : guest.pwrite(offset, data)
    ).then(() => true, failed);
    data.copy(model, offset);
    for (const s of sectors) {
      if (done) unsure.delete(s);
      else unsure.add(s);
    }
  }
  await layer.close();
}

test('one child with errors: the guest never sees one', async () => {
  const property = fc.asyncProperty(
    faults,
    fc.nat(2),
    fc.array(request, { maxLength: 30 }),
    fc.boolean(),
    (rules, which, requests, rewrite) =>
      play(
        [0, 1, 2].map(n => (n === which ? rules : [])),
        requests,
        rewrite,
        false,
      ),
  );
  await fc.assert(property, { numRuns: 80 });
});

test('all children with errors: an error at worst, never other content', async () => {
  const property = fc.asyncProperty(
    fc.tuple(faults, faults, faults),
    fc.array(request, { maxLength: 30 }),
    fc.boolean(),
    (rules, requests, rewrite) => play(rules, requests, rewrite, true),
  );
  await fc.assert(property, { numRuns: 80 });
});
