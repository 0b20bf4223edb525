/** What every arbiter does, whatever keeps its record: one suite for all backends. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Arbiter } from '../../src/arbiter/contract.js';
import type { ArbiterRecord } from '../../src/arbiter/record.js';

export const arbiterRecord = (change: Partial<ArbiterRecord> = {}): ArbiterRecord => ({
  vm: '6f0c1a52-9d3e-4b77-8a10-2f5be0c4d911',
  term: 1,
  branch: '0123456789abcdef0123456789abcdef',
  owner: 'alpha',
  replica: undefined,
  inStep: false,
  ...change,
});

/** Each call: the same store, as another host sees it. */
export type OpenAnother = () => Promise<Arbiter>;

/** fresh: a store without a record. */
export function arbiterContract(fresh: () => Promise<OpenAnother>): void {
  let open: OpenAnother;
  let ours: Arbiter;
  let theirs: Arbiter;

  beforeEach(async () => {
    open = await fresh();
    [ours, theirs] = [await open(), await open()];
  });
  afterEach(() => {
    ours.dispose();
    theirs.dispose();
  });

  test('without a record there is none, and the first one that sets it wins', async () => {
    expect(await ours.read()).toBeUndefined();
    expect(await ours.compareAndSet(undefined, arbiterRecord())).toBe('won');
    expect(await theirs.compareAndSet(undefined, arbiterRecord({ owner: 'beta' }))).toBe('lost');
    expect((await theirs.read())?.record).toEqual(arbiterRecord());
  });

  test('what was won is read by both, every field of it', async () => {
    await ours.compareAndSet(undefined, arbiterRecord());
    const next = arbiterRecord({ term: 2, replica: 'beta', inStep: true });
    expect(await ours.compareAndSet(await ours.read(), next)).toBe('won');
    expect((await ours.read())?.record).toEqual(next);
    expect((await theirs.read())?.record).toEqual(next);
  });

  test('of two that replace the same record one wins, and what is old never wins', async () => {
    await ours.compareAndSet(undefined, arbiterRecord());
    const [a, b] = [await ours.read(), await theirs.read()];
    const results = await Promise.all([
      ours.compareAndSet(a, arbiterRecord({ term: 2 })),
      theirs.compareAndSet(b, arbiterRecord({ term: 2, owner: 'beta' })),
    ]);
    expect(results.sort()).toEqual(['lost', 'won']);
    for (let term = 3; term < 40; term++)
      await ours.compareAndSet(await ours.read(), arbiterRecord({ term }));
    expect(await theirs.compareAndSet(b, arbiterRecord({ term: 2, owner: 'beta' }))).toBe('lost');
    expect((await theirs.read())?.record.term).toBe(39);
  });
}

/** Each term is won by exactly one of several processes. */
export async function raceOfProcesses(address: string, terms: number): Promise<void> {
  const nodes = ['alpha', 'beta'];
  const won = await Promise.all(nodes.map(node => termsWon(address, node, terms)));
  const all = won.flat().sort((a, b) => a - b);
  expect(all).toEqual(Array.from({ length: terms }, (_, n) => n + 1));
  for (const one of won) expect(one.length).toBeGreaterThan(0);
}

function termsWon(address: string, node: string, terms: number): Promise<number[]> {
  const script = fileURLToPath(new URL('arbiter-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, address, node, String(terms)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  return new Promise((resolve, reject) =>
    child.on('close', code => {
      if (code !== 0) return reject(new Error(`${node} ended with ${code}`));
      resolve(text.trim().split('\n').filter(Boolean).map(Number));
    }),
  );
}
