/**
 * A pair definition as the options of one side: what `colo primary` and `colo secondary` would have
 * been given by hand.
 */
import { dirname, resolve } from 'node:path';
import { asVmError } from '../../base/errors.js';
import { type GivenOption, parseArgv, UsageError } from '../options/argv.js';
import type { Role } from '../options/spec.js';
import { optionTable, refusedOptions } from '../options/table.js';
import type { PairFile } from './read.js';
import { credentialsOption, PAIR_TLS } from './secure.js';
import {
  activeDiskId,
  type CardDefinition,
  cardId,
  defaultDelayMs,
  pairTimes,
  type DiskDefinition,
  diskId,
  type SideDefinition,
  sideName,
} from './schema.js';
import { sideOf } from './side.js';

const other = { primary: 'secondary', secondary: 'primary' } as const;

/** A comma in a value is doubled. */
const value = (text: string) => text.replaceAll(',', ',,');

export function optionsOf(file: PairFile, role: Role): GivenOption[] {
  const { path, pair } = file;
  const side: Partial<SideDefinition> = pair[role] ?? {};
  const at = (name: string) => resolve(dirname(path), name);
  const words: string[] = [];
  const add = (name: string, given: string | number | undefined) =>
    void (given !== undefined && words.push(`-${name}`, String(given)));
  add('name', sideName(pair, role));
  add('m', `${pair.memory / 2 ** 20}M`);
  add('smp', pair.cpus);
  add('accel', side.accel ?? pair.accel);
  add('kernel', at(pair.kernel));
  add('initrd', pair.initrd === undefined ? undefined : at(pair.initrd));
  add('append', pair.append);
  const names = `node=${sideName(pair, role)},peer=${sideName(pair, other[role])}`;
  add('arbiter', pair.arbiter === undefined ? undefined : `${pair.arbiter},${names}`);
  (pair.disks ?? []).forEach((disk, n) =>
    drives(disk, diskId(disk, n), role, at).forEach(drive => add('drive', drive)),
  );
  (pair.network ?? []).forEach((card, n) => {
    add('netdev', netdev(card, cardId(card, n), role, at));
    const mac = card.mac === undefined ? '' : `,mac=${card.mac}`;
    add('device', `virtio-net-pci,id=${cardId(card, n)}-card,netdev=${cardId(card, n)}${mac}`);
  });
  const credentials = credentialsOption(path, pair, sideOf(file, role));
  add('object', credentials);
  add('global', credentials && `migration.tls-creds=${PAIR_TLS}`);
  if (role === 'secondary') add('incoming', pair.peer.migration);
  add('global', `migration.x-checkpoint-delay=${pair['checkpoint-delay'] ?? defaultDelayMs}`);
  for (const name of pairTimes)
    if (pair[name] !== undefined) add('global', `migration.x-${name}=${pair[name]}`);
  for (const channel of ['serial', 'monitor', 'qmp'] as const) add(channel, side[channel]);
  return [
    ...parseArgv(words, optionTable, refusedOptions),
    ...furtherOptions(path, 'options', pair.options),
    ...furtherOptions(path, `${role}.options`, side.options),
  ];
}

function drives(
  disk: DiskDefinition,
  id: string,
  role: Role,
  at: (file: string) => string,
): string[] {
  const format = disk.format ?? 'raw';
  if (role === 'primary')
    return [
      `if=virtio,id=${id},driver=quorum,read-pattern=fifo,vote-threshold=1,` +
        `children.0.driver=${format},children.0.file.filename=${value(at(disk.primary))}`,
    ];
  const replica = `if=none,id=${id},driver=${format},file.filename=${value(at(disk.secondary))}`;
  // In a quorum of its own: when the guest has gone over it gets a replica of this disk.
  const child = 'children.0.driver=replication,children.0.mode=secondary,children.0.file';
  const overlay =
    `if=virtio,id=${activeDiskId(id)},driver=quorum,read-pattern=fifo,vote-threshold=1,` + child;
  if (disk.active === undefined || disk.hidden === undefined) return [replica, `${overlay}=${id}`];
  const files =
    `.driver=qcow2,children.0.file.file.filename=${value(at(disk.active))},` +
    'children.0.file.backing.driver=qcow2,' +
    `children.0.file.backing.file.filename=${value(at(disk.hidden))}`;
  return [replica, `${overlay}${files},children.0.file.backing.backing=${id}`];
}

function netdev(
  card: CardDefinition,
  id: string,
  role: Role,
  at: (file: string) => string,
): string {
  const script = (path: string | undefined) => (path === undefined ? 'no' : value(at(path)));
  return (
    `tap,id=${id},ifname=${card[role]},script=${script(card.script)},` +
    `downscript=${script(card.downscript)}`
  );
}

/** `-uuid X`: a name, then all the rest of the line as its value. */
function furtherOptions(file: string, where: string, lines: readonly string[] = []): GivenOption[] {
  return lines.flatMap((line, n) => {
    const [, name, given] = /^\s*(\S+)(?:\s+(.*\S))?\s*$/s.exec(line) ?? ['', line, undefined];
    try {
      return parseArgv(given === undefined ? [name] : [name, given], optionTable, refusedOptions);
    } catch (error) {
      const { message, options } = asVmError(error);
      throw new UsageError(`${file}: ${where}[${n}]: ${message}`, { hint: options.hint });
    }
  });
}
