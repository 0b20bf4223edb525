/** Migration, which is also how COLO is entered. */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { migrationStatuses } from '../../qapi/types.js';
import { pairs } from '../hmp/table.js';
import { command, hmp, hmpCommand, part } from '../schema.js';
import type { ArgsOf, Type } from '../../words/types.js';
import { parseSize } from '../../words/scalars.js';
import { bool, flag, int, list, num, oneOf, optional, str, struct } from '../../words/types.js';
import type { MigrationControl, MigrationInfo, SocketAddress, VmControl } from '../vm.js';

const uint32 = { min: 0, max: 0xffff_ffff };

/** Every parameter we know; a machine has some of them. */
const parameterArgs = {
  'max-bandwidth': optional(
    int('bytes per second of RAM that is sent while the guest runs; 0: no limit', { min: 0 }),
  ),
  'downtime-limit': optional(
    int('ms that the guest may stand still at the end of a migration without COLO', {
      min: 0,
      max: 2_000_000,
    }),
  ),
  'x-checkpoint-delay': optional(int('ms from the end of a COLO checkpoint to the next', uint32)),
  'x-heartbeat-interval': optional(
    int('ms between two signs of life of a COLO peer; at once', { min: 10, max: 10_000 }),
  ),
  'x-heartbeat-timeout': optional(
    int('ms without a sign of life after which a COLO peer is lost; at once', {
      min: 50,
      max: 3_600_000,
    }),
  ),
  'x-sync-from': optional(
    oneOf(
      ['none', 'primary', 'secondary'],
      'whose disks are kept, the next time that COLO begins, where they differ and no record ' +
        'says which are newer',
      { name: 'SyncFrom' },
    ),
  ),
  'x-checkpoint-events': optional(bool('STOP and RESUME are sent for each COLO checkpoint')),
};
type ParameterName = keyof typeof parameterArgs;
const units: Readonly<Partial<Record<ParameterName, string>>> = {
  'x-checkpoint-delay': 'ms',
  'x-heartbeat-interval': 'ms',
  'x-heartbeat-timeout': 'ms',
  'max-bandwidth': 'bytes/second',
  'downtime-limit': 'ms',
};
const isParameter = (name: string): name is ParameterName => Object.hasOwn(parameterArgs, name);

const capability = struct('MigrationCapabilityStatus', { capability: str(), state: bool() });
const migrationStats = struct('MigrationStats', {
  transferred: int(),
  remaining: int(),
  total: int(),
  duplicate: optional(int()),
  normal: optional(int()),
  'normal-bytes': optional(int()),
  mbps: optional(num()),
  'dirty-pages-rate': optional(int()),
  'dirty-sync-count': int(),
  'page-size': int(),
});
const destination = str(
  'tcp:HOST:PORT or unix:PATH, where another VM waits with -incoming; file:PATH[,offset=N] or ' +
    'exec:COMMAND, which keep the state',
);
const migrationInfo = struct('MigrationInfo', {
  status: optional(oneOf(migrationStatuses, '', { name: 'MigrationStatus' })),
  ram: optional(migrationStats),
  disk: optional(
    struct('DiskSyncStats', {
      phase: oneOf(['digest', 'compare', 'copy'], '', { name: 'DiskSyncPhase' }),
      transferred: int(),
      remaining: int(),
      total: int(),
    }),
  ),
  'total-time': optional(int('ms')),
  'expected-downtime': optional(int('ms')),
  'setup-time': optional(int('ms')),
  downtime: optional(int('ms')),
  'error-desc': optional(str()),
  'error-lasting': optional(bool('the same would come of another attempt')),
  'socket-address': optional(
    list(
      struct('SocketAddress', {
        type: oneOf(['inet', 'unix'], '', { name: 'SocketAddressType' }),
        host: optional(str()),
        port: optional(str()),
        path: optional(str()),
      }),
      'where it waits for a migration',
    ),
  ),
});

export const migrationCommands = [
  command({
    name: 'migrate',
    since: '0.1',
    feature: 'migration',
    summary: 'migrate to URI (using -d to not wait for completion)',
    notes: [
      'With the capability x-colo on, the destination becomes the secondary of this machine.',
      'Without it the guest moves there: it runs until little of its memory is left, then ' +
        'stands still for downtime-limit at most.',
      'Disks stay where they are: both sides must reach them. After file: and exec: cont ' +
        'takes the guest up again.',
    ],
    examples: ['migrate -d tcp:10.0.0.2:8888', 'migrate file:/var/save/vm'],
    args: { uri: destination },
    run: (vm, { uri }) => part(vm, 'migration').start(uri),
    hmp: hmp(
      { detach: flag('d', 'do not wait'), uri: destination },
      async (vm, { detach, uri }, { mayWait }) => {
        const migration = part(vm, 'migration');
        await migration.start(uri);
        if (detach) return undefined;
        return mayWait
          ? untilSettled(vm, migration)
          : 'terminal does not allow synchronous migration, continuing detached';
      },
    ),
  }),
  command({
    name: 'migrate-incoming',
    since: '0.1',
    feature: 'migration',
    summary: 'continue an incoming migration from an -incoming defer',
    notes: ['Also for another try, after a state could not be loaded.'],
    examples: ['migrate_incoming tcp:0:8888', 'migrate_incoming file:/var/lib/vm.state'],
    args: {
      uri: str(
        'tcp:HOST:PORT or unix:PATH to wait on; file:PATH[,offset=N] or exec:COMMAND to load',
      ),
    },
    run: (vm, { uri }) => part(vm, 'migration').incoming(uri),
  }),
  command({
    name: 'migrate_cancel',
    since: '0.1',
    feature: 'migration',
    summary: 'cancel the current VM migration',
    notes: ['No effect in COLO: see x_colo_lost_heartbeat.'],
    run: vm => part(vm, 'migration').cancel(),
  }),
  command({
    name: 'query-migrate',
    since: '0.1',
    feature: 'migration',
    summary: 'show migration status',
    returns: migrationInfo,
    run: vm => {
      const { 'socket-address': waits, ...info } = part(vm, 'migration').info();
      return { ...info, ...(waits && { 'socket-address': [...waits] }) };
    },
    show: showMigration,
    table: info => pairs(showMigration(info)),
  }),
  command({
    name: 'migrate-set-capabilities',
    since: '0.1',
    feature: 'migration',
    monitors: 'qmp',
    summary: 'switch migration capabilities',
    examples: ['{"capabilities": [{"capability": "x-colo", "state": true}]}'],
    args: { capabilities: list(capability) },
    run: (vm, { capabilities }) => setCapabilities(vm, capabilities),
  }),
  command({
    name: 'query-migrate-capabilities',
    since: '0.1',
    feature: 'migration',
    summary: 'show current migration capabilities',
    returns: list(capability),
    run: vm =>
      part(vm, 'migration')
        .capabilities()
        .map(c => ({ ...c })),
    show: all => all.map(c => `${c.capability}: ${c.state ? 'on' : 'off'}`).join('\n'),
    table: all => ({
      head: ['CAPABILITY', 'STATE'],
      rows: all.map(c => [c.capability, c.state ? 'on' : 'off']),
    }),
  }),
  command({
    name: 'migrate-set-parameters',
    since: '0.1',
    feature: 'migration',
    monitors: 'qmp',
    summary: 'set migration parameters; they take effect at once',
    examples: ['{"x-checkpoint-delay": 100}'],
    args: parameterArgs,
    run: setParameters,
  }),
  command({
    name: 'query-migrate-parameters',
    since: '0.1',
    feature: 'migration',
    summary: 'show current migration parameters',
    returns: struct('MigrationParameters', parameterArgs),
    run: vm => ({ ...part(vm, 'migration').parameters() }),
    show: all =>
      Object.entries(all)
        .map(([name, value]) =>
          `${name}: ${onOff(value)} ${(isParameter(name) && units[name]) || ''}`.trimEnd(),
        )
        .join('\n'),
    table: all => ({
      head: ['PARAMETER', 'VALUE', 'UNIT'],
      rows: Object.entries(all).map(([name, value]) => [
        name,
        onOff(value),
        (isParameter(name) && units[name]) || '',
      ]),
    }),
  }),
  // QMP takes lists and objects; a line of HMP changes one thing.
  hmpCommand({
    name: 'migrate-set-capability',
    since: '0.1',
    feature: 'migration',
    summary: 'enable or disable a migration capability',
    examples: ['migrate_set_capability x-colo on'],
    args: {
      capability: str('name, for example x-colo', { complete: 'capabilities' }),
      state: bool('the new state'),
    },
    run: (vm, change) => {
      setCapabilities(vm, [change]);
      return undefined;
    },
  }),
  hmpCommand({
    name: 'migrate-set-parameter',
    since: '0.1',
    feature: 'migration',
    summary: 'set a migration parameter',
    examples: ['migrate_set_parameter x-checkpoint-delay 100'],
    args: {
      parameter: str('name, for example x-checkpoint-delay', { complete: 'parameters' }),
      value: str('ms; for max-bandwidth a size, MiB without a suffix; on or off; a side'),
    },
    run: (vm, { parameter, value }) => {
      setParameters(vm, { [parameter]: parameterValue(parameter, value) });
      return undefined;
    },
  }),
];

function setCapabilities(vm: VmControl, changes: { capability: string; state: boolean }[]): void {
  const migration = part(vm, 'migration');
  const known = migration.capabilities().map(c => c.capability);
  const alien = changes.find(c => !known.includes(c.capability))?.capability;
  if (alien !== undefined)
    throw new VmError(`Parameter 'capability' does not accept value '${alien}'`, {
      hint: `This machine has: ${known.join(', ')}.${didYouMean(alien, known)}`,
    });
  migration.setCapabilities(changes);
}

function setParameters(vm: VmControl, changes: ArgsOf<typeof parameterArgs>): void {
  const migration = part(vm, 'migration');
  const has = Object.keys(migration.parameters());
  const absent = Object.keys(changes).find(name => !has.includes(name));
  if (absent !== undefined)
    throw new VmError(`Parameter '${absent}' is not supported by this machine`, {
      hint: `It has: ${has.join(', ')}.`,
    });
  migration.setParameters(changes);
}

const onOff = (value: unknown) =>
  typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value);

/** How a line of HMP says it, where that is not a whole number. */
interface Form {
  readonly words: string;
  read(word: string, type: Type<unknown>): unknown;
}
const forms: Readonly<Partial<Record<ParameterName, Form>>> = {
  'max-bandwidth': { words: 'a size', read: word => parseSize(word, 'M') },
  'x-checkpoint-events': { words: "'on' or 'off'", read: (word, type) => type.fromWord(word) },
  'x-sync-from': {
    words: "'primary', 'secondary' or 'none'",
    read: (word, type) => type.fromWord(word),
  },
};

function parameterValue(name: string, text: string): number | boolean | string {
  const known = Object.keys(parameterArgs);
  if (!isParameter(name))
    throw new VmError(`invalid parameter value: ${name}`, {
      hint: `Parameters: ${known.join(', ')}.${didYouMean(name, known)}`,
    });
  const type = parameterArgs[name];
  const form = forms[name] ?? { words: 'an integer', read: word => int().fromWord(word) };
  const value = form.read(text, type);
  if (value === undefined) {
    throw new VmError(`Parameter '${name}' expects ${form.words}, not '${text}'`);
  }
  return parameterArgs[name].check(value, name);
}

const settled = new Set<string | undefined>(['none', 'cancelled', 'colo', 'completed', 'failed']);

async function untilSettled(
  vm: VmControl,
  migration: MigrationControl,
): Promise<string | undefined> {
  while (!settled.has(migration.info().status)) await vm.events.once('MIGRATION');
  const { status, 'error-desc': error } = migration.info();
  return status === 'failed' ? `Error: ${error ?? 'the migration failed'}` : undefined;
}

const diskWords = {
  digest: 'the secondary reads them',
  compare: 'compared',
  copy: 'copied where they differ',
} as const;

const showAddress = ({ type, host = '', port, path }: SocketAddress) =>
  type === 'unix' ? `unix:${path}` : `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`;

function showMigration(info: MigrationInfo): string {
  const waits = info['socket-address']?.map(showAddress);
  const waiting = waits ? [`socket address: ${waits.join(', ')}`] : [];
  if (info.status === undefined) return ['Migration status: none', ...waiting].join('\n');
  const { ram } = info;
  const lines = [
    ...waiting,
    'Migration status: ' +
      `${info.status}${info['error-desc'] === undefined ? '' : ` (${info['error-desc']})`}`,
  ];
  const add = (name: string, value: number | undefined, unit = '') =>
    void (value === undefined || lines.push(`${name}: ${value}${unit}`));
  const kbytes = (bytes: number | undefined) => bytes && Math.round(bytes / 1024);
  add('total time', info['total-time'], ' ms');
  add('expected downtime', info['expected-downtime'], ' ms');
  add('downtime', info.downtime, ' ms');
  add('setup', info['setup-time'], ' ms');
  add('transferred ram', kbytes(ram?.transferred), ' kbytes');
  add('throughput', ram?.mbps, ' mbps');
  add('remaining ram', kbytes(ram?.remaining), ' kbytes');
  add('total ram', kbytes(ram?.total), ' kbytes');
  add('duplicate', ram?.duplicate, ' pages');
  add('normal', ram?.normal, ' pages');
  add('normal bytes', kbytes(ram?.['normal-bytes']), ' kbytes');
  add('dirty sync count', ram?.['dirty-sync-count']);
  add('page size', kbytes(ram?.['page-size']), ' kbytes');
  add('dirty pages rate', ram?.['dirty-pages-rate'], ' pages');
  const { disk } = info;
  if (!disk) return lines.join('\n');
  const sizes = `${kbytes(disk.transferred)} of ${kbytes(disk.total)} kbytes`;
  lines.push(`disks: ${diskWords[disk.phase]}, ${sizes}`);
  return lines.join('\n');
}
