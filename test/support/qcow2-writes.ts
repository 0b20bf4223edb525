/**
 * The n-th write of a workload that two processes know: what a killed writer said it wrote can be
 * looked for.
 */
import { pattern } from './block-host.js';

const SECTORS = 32_768;

export function writeNumber(n: number): { offset: number; data: Buffer } {
  const sectors = 1 + ((n * 37) % 60);
  return {
    offset: ((n * 7919) % (SECTORS - sectors)) * 512,
    data: pattern(sectors * 512, n % 200),
  };
}
