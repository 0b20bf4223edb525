/**
 * The filters of one netdev, in order: head is next to the world, tail next to the guest. Directions are the netdev's: rx is what it
 * receives from the guest (guest output, tail to head), tx what it sends to it (head to tail).
 */
import type { FilterInfo } from '../contract.js';

export type Direction = 'rx' | 'tx';
/** pass: on to the next. stolen: the filter keeps it, and sends it on by forward() or never. full: not taken, the sender keeps it. */
export type Verdict = 'pass' | 'stolen' | 'full';

export interface NetFilter {
  readonly name: string;
  readonly direction: Direction | 'all';
  /** Off: frames go past it. */
  readonly on: boolean;
  /** The frame is the caller's: copy what is kept. */
  take(frame: Uint8Array, direction: Direction): Verdict;
  info(): FilterInfo;
}

/** Ends of the chain; false: no room, the frame was not taken. */
export interface ChainEnds {
  toWorld(frame: Uint8Array): boolean;
  toGuest(frame: Uint8Array): boolean;
}

export class FilterChain {
  private readonly filters: NetFilter[] = [];

  constructor(private readonly ends: ChainEnds) {}

  insert(filter: NetFilter, position: 'head' | 'tail'): void {
    if (position === 'head') this.filters.unshift(filter);
    else this.filters.push(filter);
  }

  /** False: somewhere is no room; the frame is still the caller's. */
  send(frame: Uint8Array, direction: Direction): boolean {
    return this.from(direction === 'rx' ? this.filters.length - 1 : 0, frame, direction);
  }

  /** A filter sends on what it has stolen. */
  forward(filter: NetFilter, frame: Uint8Array, direction: Direction): boolean {
    const at = this.filters.indexOf(filter);
    return this.from(direction === 'rx' ? at - 1 : at + 1, frame, direction);
  }

  info(): FilterInfo[] {
    return this.filters.map(filter => filter.info());
  }

  /** Hot: a frame passes here. */
  private from(start: number, frame: Uint8Array, direction: Direction): boolean {
    const step = direction === 'rx' ? -1 : 1;
    for (let at = start; at >= 0 && at < this.filters.length; at += step) {
      const filter = this.filters[at];
      if (!filter.on || (filter.direction !== 'all' && filter.direction !== direction)) continue;
      const verdict = filter.take(frame, direction);
      if (verdict !== 'pass') return verdict === 'stolen';
    }
    return direction === 'rx' ? this.ends.toWorld(frame) : this.ends.toGuest(frame);
  }
}
