/**
 * The filters that a user puts between a nic and what holds the guest's output, in order: head is
 * next to the world, tail next to the guest. Directions are the netdev's: rx is what it receives
 * from the guest (guest output, tail to head), tx what it sends to it (head to tail). The output
 * hold itself is no link of this chain but its end: no position reaches past it.
 */
import { deviceNotFound, VmError } from '../../base/errors.js';
import type {
  Direction,
  FilterInfo,
  FilterPlace,
  FilterPort,
  FilterSlots,
  NetFilter,
} from '../contract.js';

/** Ends of the chain; false: no room, the frame was not taken. */
export interface ChainPorts {
  toWorld(frame: Uint8Array): boolean;
  toGuest(frame: Uint8Array): boolean;
  emit(frame: Uint8Array, sink: (frame: Uint8Array) => void): boolean;
  /** Who sends in this direction may try again. */
  room(direction: Direction): void;
}

export class FilterChain implements FilterSlots {
  private readonly filters: NetFilter[] = [];

  constructor(private readonly ports: ChainPorts) {}

  insert(filter: NetFilter, place: FilterPlace): FilterPort {
    this.filters.splice(this.indexOf(place), 0, filter);
    return {
      forward: (frame, direction) => this.from(this.behind(filter, direction), frame, direction),
      emit: (frame, direction, sink) => this.emit(frame, direction, sink),
      room: direction => this.roomFrom(this.before(filter, direction), direction),
    };
  }

  remove(filter: NetFilter): void {
    const at = this.filters.indexOf(filter);
    if (at < 0) return;
    this.filters.splice(at, 1);
    // What waited for the removed filter can go on.
    this.room('rx');
    this.room('tx');
  }

  /** False: somewhere is no room; the frame is still the caller's. */
  send(frame: Uint8Array, direction: Direction): boolean {
    return this.from(direction === 'rx' ? this.filters.length - 1 : 0, frame, direction);
  }

  /** The end that a direction leads to has room again. */
  room(direction: Direction): void {
    this.roomFrom(direction === 'rx' ? 0 : this.filters.length - 1, direction);
  }

  info(): FilterInfo[] {
    return this.filters.map(filter => filter.info());
  }

  private indexOf(place: FilterPlace): number {
    if (place === 'head') return 0;
    if (place === 'tail') return this.filters.length;
    const at = this.filters.findIndex(filter => filter.name === place.id);
    if (at < 0)
      throw new VmError(`filter '${place.id}' not found`, {
        hint: `On this netdev: ${this.filters.map(filter => filter.name).join(', ') || 'none'}.`,
      });
    return place.insert === 'before' ? at : at + 1;
  }

  private behind(filter: NetFilter, direction: Direction): number {
    return this.at(filter) + (direction === 'rx' ? -1 : 1);
  }

  private before(filter: NetFilter, direction: Direction): number {
    return this.at(filter) + (direction === 'rx' ? 1 : -1);
  }

  private at(filter: NetFilter): number {
    const at = this.filters.indexOf(filter);
    if (at < 0) throw deviceNotFound(filter.name);
    return at;
  }

  private emit(
    frame: Uint8Array,
    direction: Direction,
    sink: (frame: Uint8Array) => void,
  ): boolean {
    if (direction === 'rx') return this.ports.emit(frame, sink);
    sink(frame);
    return true;
  }

  /**
   * Against the direction, towards its sender: each filter sends what it kept, then the sender may.
   */
  private roomFrom(start: number, direction: Direction): void {
    const step = direction === 'rx' ? 1 : -1;
    for (let at = start; at >= 0 && at < this.filters.length; at += step)
      this.filters[at].pump?.(direction);
    this.ports.room(direction);
  }

  /** Hot: a frame passes here. */
  private from(start: number, frame: Uint8Array, direction: Direction): boolean {
    const step = direction === 'rx' ? -1 : 1;
    for (let at = start; at >= 0 && at < this.filters.length; at += step) {
      const filter = this.filters[at];
      if (!filter.on || (filter.direction !== 'all' && filter.direction !== direction)) continue;
      const verdict = filter.take(frame, direction);
      if (verdict !== 'pass') return verdict === 'stolen';
      if (filter.seen) {
        const taken = this.from(at + step, frame, direction);
        if (taken) filter.seen(frame, direction);
        return taken;
      }
    }
    return direction === 'rx' ? this.ports.toWorld(frame) : this.ports.toGuest(frame);
  }
}
