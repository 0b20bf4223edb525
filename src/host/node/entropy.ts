/** The kernel's randomness. */
import { randomFillSync } from 'node:crypto';
import type { Entropy } from '../ports.js';

export const nodeEntropy: Entropy = {
  fill: bytes => void randomFillSync(bytes),
};
