/** Character devices, as the monitor shows them. */
import type { ChardevControl } from '../vm.js';
import type { ControlParts } from './parts.js';

export const chardevControl = (parts: ControlParts): ChardevControl => ({ info: () => chardevInfo(parts) });

function chardevInfo({ machine: { spec }, chardevs }: ControlParts) {
  const users = new Set([...spec.serials, ...spec.monitors.map(monitor => monitor.chardev)]);
  return [...chardevs.values()].map(({ id, label, connected }) => ({ id, label, connected, used: users.has(id) }));
}
