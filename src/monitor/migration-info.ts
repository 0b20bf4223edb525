/** How a migration stands: query-migrate, `info migrate`. */
import type { ColoController } from '../colo/controller.js';
import type { DiskSyncInfo } from '../colo/disk-sync.js';
import type { Address } from '../host/ports.js';
import { PAGE_BYTES } from '../migration/pages.js';
import type { MigrationData } from '../migration/status.js';
import { migrationStatuses } from '../qapi/types.js';
import { bool, int, list, num, oneOf, optional, str, struct, type TypeOf } from '../words/types.js';
import { answersOf } from './answer.js';

const rounded = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms));
const inKbytes = (bytes: number) => Math.round(bytes / 1024);
const kbytes = (name: string) => (bytes: number) => `${name}: ${inKbytes(bytes)} kbytes`;
const row = (name: string, unit: string) => (value: number) => `${name}: ${value} ${unit}`;

const ofRam = answersOf<MigrationData>();
/** Only the side that sends counts it. */
const sent =
  <T>(of: (data: MigrationData) => T) =>
  (data: MigrationData) =>
    data.outgoing ? of(data) : undefined;
/** Bytes, pages, and per second. */
const ram = ofRam.answer(
  'MigrationStats',
  {
    transferred: ofRam.fact(int(), m => m.transferredBytes, kbytes('transferred ram')),
    remaining: ofRam.fact(int(), m => m.remainingPages * PAGE_BYTES, kbytes('remaining ram')),
    total: ofRam.fact(int(), m => m.ramTotalBytes, kbytes('total ram')),
    duplicate: ofRam.fact(
      optional(int()),
      sent(m => m.zeroPages),
      row('duplicate', 'pages'),
    ),
    normal: ofRam.fact(
      optional(int()),
      sent(m => m.normalPages),
      row('normal', 'pages'),
    ),
    'normal-bytes': ofRam.fact(
      optional(int()),
      sent(m => m.normalPages * PAGE_BYTES),
      kbytes('normal bytes'),
    ),
    mbps: ofRam.fact(
      optional(num()),
      sent(m => Math.round(m.bytesPerMs * 8) / 1000),
      row('throughput', 'mbps'),
    ),
    'dirty-pages-rate': ofRam.fact(
      optional(int()),
      sent(m => m.dirtyRate),
      row('dirty pages rate', 'pages'),
    ),
    'dirty-sync-count': ofRam.fact(int(), m => m.passes, 'dirty sync count'),
    'page-size': ofRam.fact(int(), () => PAGE_BYTES, kbytes('page size')),
  },
  [
    'transferred',
    'mbps',
    'remaining',
    'total',
    'duplicate',
    'normal',
    'normal-bytes',
    'dirty-sync-count',
    'page-size',
    'dirty-pages-rate',
  ],
);

const phases = {
  digest: 'the secondary reads them',
  compare: 'compared',
  copy: 'copied where they differ',
} as const;
const ofDisk = answersOf<DiskSyncInfo>();
/** On the way into COLO: the images are read, compared, and what differs is copied. */
const disk = ofDisk.answer('DiskSyncStats', {
  phase: ofDisk.fact(
    oneOf(['digest', 'compare', 'copy'], '', { name: 'DiskSyncPhase' }),
    d => d.phase,
    (phase, { transferred, total }) =>
      `disks: ${phases[phase]}, ${inKbytes(Number(transferred))} of ` +
      `${inKbytes(Number(total))} kbytes`,
  ),
  transferred: ofDisk.fact(int(), d => d.doneBytes),
  remaining: ofDisk.fact(int(), d => Math.max(0, d.totalBytes - d.doneBytes)),
  total: ofDisk.fact(int(), d => d.totalBytes),
});

/** A port may be a name of a service in QAPI, so it is text. */
const socketAddress = struct('SocketAddress', {
  type: oneOf(['inet', 'unix'], '', { name: 'SocketAddressType' }),
  host: optional(str()),
  port: optional(str()),
  path: optional(str()),
});
type SocketAddress = TypeOf<typeof socketAddress>;
const addressOf = (at: Address): SocketAddress =>
  at.kind === 'unix'
    ? { type: 'unix', path: at.path }
    : { type: 'inet', host: at.host, port: String(at.port) };
const showAddress = ({ type, host = '', port, path }: SocketAddress) =>
  type === 'unix' ? `unix:${path}` : `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`;

const ofColo = answersOf<ColoController>();
/** undefined: there never was a migration. */
const known =
  <T>(of: (data: MigrationData) => T) =>
  (colo: ColoController) => {
    const data = colo.query();
    return data.status === 'none' ? undefined : of(data);
  };
const ms = (of: (data: MigrationData) => number | undefined, name: string) =>
  ofColo.fact(
    optional(int('ms')),
    known(m => rounded(of(m))),
    row(name, 'ms'),
  );

export const migrationInfo = ofColo.answer(
  'MigrationInfo',
  {
    status: ofColo.fact(
      optional(oneOf(migrationStatuses, '', { name: 'MigrationStatus' })),
      known(m => m.status),
      (status, { 'error-desc': error }) =>
        `Migration status: ${status}${error === undefined ? '' : ` (${String(error as string)})`}`,
    ),
    ram: ofColo.fact(optional(ram.type), known(ram.from), ram.show),
    disk: ofColo.fact(
      optional(disk.type),
      colo => {
        const { disks } = colo.info();
        return disks && disk.from(disks);
      },
      disk.show,
    ),
    'total-time': ms(m => m.totalMs, 'total time'),
    'expected-downtime': ms(m => m.expectedDowntimeMs, 'expected downtime'),
    'setup-time': ms(m => m.setupMs, 'setup'),
    downtime: ms(m => m.downtimeMs, 'downtime'),
    'error-desc': ofColo.fact(
      optional(str()),
      known(m => m.error),
    ),
    'error-lasting': ofColo.fact(
      optional(bool('the same would come of another attempt')),
      known(m => m.lasting || undefined),
    ),
    'socket-address': ofColo.fact(
      optional(list(socketAddress, 'where it waits for a migration')),
      ({ waitsAt }) => waitsAt && [addressOf(waitsAt)],
      waits => `socket address: ${waits.map(showAddress).join(', ')}`,
    ),
  },
  [
    'socket-address',
    'status',
    'total-time',
    'expected-downtime',
    'downtime',
    'setup-time',
    'ram',
    'disk',
  ],
);
export type MigrationInfo = TypeOf<typeof migrationInfo.type>;

export function showMigration(info: MigrationInfo): string {
  const lines = migrationInfo.show(info);
  if (info.status !== undefined) return lines;
  return lines === '' ? 'Migration status: none' : `Migration status: none\n${lines}`;
}
