/**
 * `-smp`: `N`, `cpus=N`, and how they are packaged: sockets, cores, threads. What is left out
 * follows, cores before sockets, as in QEMU.
 */
import type { Topology } from '../../accel/contract.js';
import { VmError } from '../../base/errors.js';
import { KeyValues, parseKeyValues } from '../../words/key-values.js';
import { takeNothing } from '../../words/nothing.js';
import { ofTheSmp } from './nothing.js';

const range = { min: 1, max: 255 };

export function parseSmp(text: string): { cpus: number; topology: Topology } {
  const options = new KeyValues(parseKeyValues(text, 'cpus'));
  const take = (key: string) => options.takeInteger(key, range);
  const [cpus, sockets, cores, threads, maxcpus] = [
    'cpus',
    'sockets',
    'cores',
    'threads',
    'maxcpus',
  ].map(take);
  takeNothing(options, ofTheSmp);
  options.done('cpus, sockets, cores, threads');
  const topology = fill(cpus, { sockets, cores, threads });
  const product = topology.sockets * topology.cores * topology.threads;
  const total = cpus ?? product;
  if (product !== total)
    throw new VmError(
      `sockets=${topology.sockets} x cores=${topology.cores} x threads=${topology.threads} ` +
        `make ${product} vCPUs, not ${total}`,
    );
  if (maxcpus !== undefined && maxcpus !== total)
    throw new VmError(
      `maxcpus=${maxcpus}: vCPUs cannot be plugged in later; leave it out, or make it ${total}`,
    );
  return { cpus: total, topology };
}

function fill(
  cpus: number | undefined,
  given: { sockets?: number; cores?: number; threads?: number },
): Topology {
  const threads = given.threads ?? 1;
  const share = (others: number) => Math.max(1, Math.floor((cpus ?? others) / others));
  const cores = given.cores ?? share((given.sockets ?? 1) * threads);
  return { threads, cores, sockets: given.sockets ?? share(cores * threads) };
}
