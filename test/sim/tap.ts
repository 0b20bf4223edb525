/** The tap of a simulated machine: what is written to it has left the host. */
import type { Tap } from '../../src/host/ports.js';
import type { SimNode } from '../support/sim/node.js';
import type { History } from './history.js';
import { stepOf } from './program.js';

export interface SimTap extends Tap {
  /** Nothing is taken. */
  full: boolean;
  /** A frame comes from the network. */
  arrive(frame: Uint8Array): void;
}

export function simTap(
  node: SimNode,
  history: History,
  nic: { n: number; full(): boolean },
): SimTap {
  const listeners: ((frame: Uint8Array) => void)[] = [];
  const tap: SimTap = {
    full: false,
    ifname: `tap${nic.n}`,
    onFrame: fn => void listeners.push(fn),
    arrive: frame => node.deliver('input', () => listeners.forEach(fn => fn(frame))),
    pause: () => undefined,
    resume: () => undefined,
    dispose: () => undefined,
    write: frame => {
      if (node.dead) return true;
      const step = stepOf(frame);
      if (tap.full) return false;
      if (step === undefined) history.speaks(node.name, 'an announcement');
      else if (nic.full()) return false;
      else history.packet(node.name, nic.n, step);
      return true;
    },
  };
  return tap;
}
