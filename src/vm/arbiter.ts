/** The arbiter of a VM's pair, if it has one. */
import { openArbiter } from '../arbiter/open.js';
import type { PairArbiter } from '../colo/contract.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import type { VmHost } from './host.js';

export async function arbiterOf(
  { arbiter: seat }: CheckedSpec,
  host: VmHost,
): Promise<PairArbiter | undefined> {
  if (!seat) return undefined;
  const { address, node, peer } = seat;
  const arbiter = await (host.openArbiter?.(address) ?? openArbiter(address, host));
  return { arbiter, node, peer };
}
