/** The questions of this side to its arbiter, about one VM. */
import { Referee } from '../arbiter/referee.js';
import type { ColoPorts, PairArbiter } from './contract.js';

export function refereeOf(
  { clock, options, report }: Pick<ColoPorts, 'clock' | 'options' | 'report'>,
  { arbiter, node }: PairArbiter,
  vm: string,
): Referee {
  const told = (line: string) => report(`COLO: ${line}`);
  return new Referee({ arbiter, clock, node, vm, retryMs: options.retryMs, report: told });
}
