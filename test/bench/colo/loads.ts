/** What the guest of bench:colo does while its pair is measured. */
export interface Load {
  readonly name: string;
  /** Changed in each round. */
  readonly pages: number;
  /** 8 bytes of each page, or all of it, to what cannot be compressed. */
  readonly kind: 'word' | 'noise';
  /** Between the beginnings of two rounds, ms; 0: one follows the other. */
  readonly every: number;
  /** x-checkpoint-delay. */
  readonly delayMs: number;
  readonly memoryMiB: number;
}

const load = (name: string, of: Partial<Omit<Load, 'name'>>): Load => ({
  name,
  pages: 0,
  kind: 'word',
  every: 0,
  delayMs: 500,
  memoryMiB: 256,
  ...of,
});

export const loads: readonly Load[] = [
  load('1,000 pages', { pages: 1000 }),
  load('5,000 pages', { pages: 5000 }),
  load('20,000 pages', { pages: 20_000 }),
  load('100,000 pages', { pages: 100_000, delayMs: 1000, memoryMiB: 512 }),
  load('8 bytes of 5,000 pages', { pages: 5000, every: 500 }),
  load('5,000 of noise', { pages: 5000, kind: 'noise' }),
  load('work, 100 ms', { delayMs: 100 }),
  load('work, 20 ms', { delayMs: 20 }),
  load('1,000 every 20 ms, 20 ms', { pages: 1000, every: 20, delayMs: 20 }),
];
