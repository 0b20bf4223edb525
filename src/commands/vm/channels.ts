/**
 * How a person reaches a VM that was started without a console and a monitor of its own: it runs,
 * and would say nothing.
 */
import type { MachineSpec } from '../../machine/spec.js';

/** undefined: there is a channel that was asked for. */
export function channelHint(
  { serials, monitors }: Pick<MachineSpec, 'serials' | 'monitors'>,
  name: string | undefined,
): string | undefined {
  if (serials.length + monitors.length > 0) return undefined;
  const monitor =
    name === undefined
      ? '-monitor stdio, or -name NAME with: colo monitor NAME'
      : `colo monitor ${name}`;
  return `no console (-serial stdio, -nographic); monitor: ${monitor}`;
}
