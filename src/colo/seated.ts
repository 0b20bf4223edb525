/** What a side shows of itself: with the place of its arbiter's record as the arbiter knows it. */
import { ArbiterAway } from '../arbiter/contract.js';
import type { ColoPorts, Manifest } from './contract.js';

/** An arbiter that is away has no place to show. VmError: it cannot be used. */
export async function seated({
  lifecycle,
  arbiter: pair,
}: Pick<ColoPorts, 'lifecycle' | 'arbiter'>): Promise<Manifest> {
  const manifest = lifecycle.manifest();
  const { seat } = manifest;
  if (!seat || !pair?.arbiter.place) return manifest;
  const place = await pair.arbiter.place().catch((error: unknown) => {
    if (error instanceof ArbiterAway) return undefined;
    throw error;
  });
  return { ...manifest, seat: { ...seat, ...(place !== undefined && { place }) } };
}
