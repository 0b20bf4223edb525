/**
 * `-smp`: `N`, `cpus=N`, and how they are packaged: sockets, cores, threads. What is left out
 * follows, cores before sockets, as in QEMU.
 */
import type { Topology } from '../../accel/contract.js';
import { VmError } from '../../base/errors.js';
import { nothing } from '../../words/nothing.js';
import { int, optional } from '../../words/types.js';
import { keyedOption } from './option.js';

const count = (summary: string) => optional(int(summary, { min: 1, max: 255 }));
const one = nothing(['1'], 'A processor has sockets, cores and threads.');

export const smpOption = keyedOption({
  name: 'smp',
  value: '[cpus=]N[,sockets=S,cores=C,threads=T]',
  summary: 'vCPUs: 1 to 8; the default is 1',
  implied: 'cpus',
  keys: {
    cpus: count('vCPUs'),
    sockets: count('sockets of the machine'),
    cores: count('cores of a socket'),
    threads: count('threads of a core'),
    maxcpus: count('the same as cpus: vCPUs cannot be plugged in later'),
    dies: one,
    clusters: one,
    modules: one,
    books: one,
    drawers: one,
  },
  take: (draft, given) => void Object.assign(draft.spec, packaged(given)),
});

interface Counts {
  readonly cpus?: number;
  readonly sockets?: number;
  readonly cores?: number;
  readonly threads?: number;
  readonly maxcpus?: number;
}

function packaged(given: Counts): { cpus: number; topology: Topology } {
  const { cpus, maxcpus } = given;
  const topology = fill(cpus, given);
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

function fill(cpus: number | undefined, given: Counts): Topology {
  const threads = given.threads ?? 1;
  const share = (others: number) => Math.max(1, Math.floor((cpus ?? others) / others));
  const cores = given.cores ?? share((given.sockets ?? 1) * threads);
  return { threads, cores, sockets: given.sockets ?? share(cores * threads) };
}
