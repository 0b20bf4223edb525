/** What query-migrate tells of the way into COLO, as a person reads it. */
import { isObject } from '../words/types.js';

const onTheWay = ['setup', 'active', 'device', 'colo'];

/** undefined: nothing is on its way. */
export function progressOf(info: unknown): string | undefined {
  if (!isObject(info) || !onTheWay.includes(String(info['status']))) return undefined;
  const disk = part(info['disk']);
  if (disk !== undefined) return `${phaseOf(info['disk'])}, ${disk}`;
  const ram = info['status'] === 'colo' ? undefined : part(info['ram']);
  return ram === undefined ? undefined : `the memory is sent, ${ram}`;
}

const phases: Readonly<Record<string, string>> = {
  digest: 'the secondary reads its disks',
  compare: 'the disks are compared',
  copy: 'the disks are copied where they differ',
};
const phaseOf = (disk: unknown) => phases[String(isObject(disk) && disk['phase'])] ?? 'the disks';

/** `37% of 768 MiB`; undefined: there is nothing left to do of it. */
function part(stats: unknown): string | undefined {
  if (!isObject(stats)) return undefined;
  const total = Number(stats['total']);
  const remaining = Number(stats['remaining']);
  if (!(total > 0) || !(remaining > 0)) return undefined;
  return `${Math.floor((100 * (total - remaining)) / total)}% of ${Math.ceil(total / 2 ** 20)} MiB`;
}
