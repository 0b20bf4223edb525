/**
 * A device broke (hw/contain.ts): people and monitor clients hear of it. A guest can break a
 * device, reset it and break it again as fast as it likes: each device is told of once a second at
 * most.
 */
import type { Events } from '../base/events.js';
import { printable } from '../base/printable.js';
import { event, tracer } from '../base/trace.js';
import type { Clock } from '../host/ports.js';
import type { QmpEvents } from '../qapi/types.js';

const trace = tracer('device', {
  broken: event<{ id: string; why: string; stack: string | undefined }>(),
});
const QUIET_MS = 1000;

export class BrokenDevices {
  private readonly toldAtMs = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly events: Events<QmpEvents>,
    private readonly report: (line: string) => void,
  ) {}

  tell(id: string, why: string, thrown: unknown): void {
    const stack = thrown instanceof Error ? (thrown.stack ?? '') : '';
    trace.broken?.({ id, why, stack });
    const now = this.clock.nowMs();
    const toldAt = this.toldAtMs.get(id);
    if (toldAt !== undefined && now - toldAt < QUIET_MS) return;
    this.toldAtMs.set(id, now);
    this.report(
      `device '${id}' failed and takes no part until it is reset; the VM goes on: ` +
        `${why}${where(stack)}`,
    );
    this.events.emit('DEVICE_BROKEN', { device: id, reason: why });
  }
}

/** The innermost frame of the stack, for the developer. */
function where(stack: string): string {
  const frame = /^\s+at (.*)$/m.exec(stack)?.[1];
  return frame === undefined
    ? ''
    : ` (${printable(frame.replace(/(file:\/\/)?\/\S*\/(?=[^/]+$)/, ''), 120)})`;
}
