/** Migration, which is also how COLO is entered. */
import { asVmError, VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { type CapabilityName, capabilityNames } from '../../colo/controller.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import type { MigrationStatus } from '../../qapi/types.js';
import type { Vm } from '../../vm/vm.js';
import { bool, flag, list, str, struct } from '../../words/types.js';
import { pairs } from '../hmp/table.js';
import { migrationInfo, showMigration } from '../migration-info.js';
import {
  parameterTypes,
  parameterValue,
  parameterValues,
  setParameters,
  unitOf,
} from '../parameters.js';
import { command, hmp, hmpCommand } from '../schema.js';

const capability = struct('MigrationCapabilityStatus', { capability: str(), state: bool() });
const destination = str(
  'tcp:HOST:PORT or unix:PATH, where another VM waits with -incoming; file:PATH[,offset=N] or ' +
    'exec:COMMAND, which keep the state',
);
export const migrationCommands = [
  command({
    name: 'migrate',
    since: '0.1',
    summary: 'migrate to URI (using -d to not wait for completion)',
    notes: [
      'With the capability x-colo on, the destination becomes the secondary of this machine.',
      'Without it the guest moves there: it runs until little of its memory is left, then ' +
        'stands still for downtime-limit at most.',
      'With the parameter tls-creds it goes over TLS, and the destination must, too.',
      'Disks stay where they are: both sides must reach them. After file: and exec: cont ' +
        'takes the guest up again.',
    ],
    examples: ['migrate -d tcp:10.0.0.2:8888', 'migrate file:/var/save/vm'],
    args: { uri: destination },
    run: ({ colo }, { uri }) => void colo.migrate(uri),
    hmp: hmp(
      { detach: flag('d', 'do not wait'), uri: destination },
      async (vm, { detach, uri }, { mayWait }) => {
        vm.colo.migrate(uri);
        if (detach) return undefined;
        return mayWait
          ? untilSettled(vm)
          : 'terminal does not allow synchronous migration, continuing detached';
      },
    ),
  }),
  command({
    name: 'migrate-incoming',
    since: '0.1',
    summary: 'continue an incoming migration from an -incoming defer',
    notes: ['Also for another try, after a state could not be loaded.'],
    examples: ['migrate_incoming tcp:0:8888', 'migrate_incoming file:/var/lib/vm.state'],
    args: {
      uri: str(
        'tcp:HOST:PORT or unix:PATH to wait on; file:PATH[,offset=N] or exec:COMMAND to load',
      ),
    },
    run: (vm, { uri }) => incoming(vm, uri),
  }),
  command({
    name: 'migrate_cancel',
    since: '0.1',
    summary: 'cancel the current VM migration',
    notes: ['No effect in COLO: see x_colo_lost_heartbeat.'],
    run: ({ colo }) => colo.cancel(),
  }),
  command({
    name: 'query-migrate',
    since: '0.1',
    summary: 'show migration status',
    returns: migrationInfo.type,
    run: ({ colo }) => migrationInfo.from(colo),
    show: showMigration,
    table: info => pairs(showMigration(info)),
  }),
  command({
    name: 'migrate-set-capabilities',
    since: '0.1',
    monitors: 'qmp',
    summary: 'switch migration capabilities',
    examples: ['{"capabilities": [{"capability": "x-colo", "state": true}]}'],
    args: { capabilities: list(capability) },
    run: (vm, { capabilities }) => setCapabilities(vm, capabilities),
  }),
  command({
    name: 'query-migrate-capabilities',
    since: '0.1',
    summary: 'show current migration capabilities',
    returns: list(capability),
    run: ({ colo }) => [...colo.capability].map(([name, state]) => ({ capability: name, state })),
    show: all => all.map(c => `${c.capability}: ${c.state ? 'on' : 'off'}`).join('\n'),
    table: all => ({
      head: ['CAPABILITY', 'STATE'],
      rows: all.map(c => [c.capability, c.state ? 'on' : 'off']),
    }),
  }),
  command({
    name: 'migrate-set-parameters',
    since: '0.1',
    monitors: 'qmp',
    summary: 'set migration parameters; they take effect at once',
    examples: ['{"x-checkpoint-delay": 100}'],
    args: parameterTypes,
    run: setParameters,
  }),
  command({
    name: 'query-migrate-parameters',
    since: '0.1',
    summary: 'show current migration parameters',
    returns: struct('MigrationParameters', parameterTypes),
    run: vm => parameterValues(vm),
    show: all =>
      Object.entries(all)
        .map(([name, value]) => `${name}: ${onOff(value)} ${unitOf(name)}`.trimEnd())
        .join('\n'),
    table: all => ({
      head: ['PARAMETER', 'VALUE', 'UNIT'],
      rows: Object.entries(all).map(([name, value]) => [name, onOff(value), unitOf(name)]),
    }),
  }),
  // QMP takes lists and objects; a line of HMP changes one thing.
  hmpCommand({
    name: 'migrate-set-capability',
    since: '0.1',
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
    summary: 'set a migration parameter',
    examples: ['migrate_set_parameter x-checkpoint-delay 100'],
    args: {
      parameter: str('name, for example x-checkpoint-delay', { complete: 'parameters' }),
      value: str(
        'ms; for max-bandwidth a size, MiB without a suffix; on or off; a side; an id; a name',
      ),
    },
    run: (vm, { parameter, value }) => {
      setParameters(vm, { [parameter]: parameterValue(parameter, value) });
      return undefined;
    },
  }),
];

function setCapabilities({ colo }: Vm, changes: { capability: string; state: boolean }[]): void {
  const alien = changes.find(({ capability: name }) => !isCapability(name))?.capability;
  if (alien !== undefined)
    throw new VmError(`Parameter 'capability' does not accept value '${alien}'`, {
      hint: `This machine has: ${capabilityNames.join(', ')}.${didYouMean(alien, capabilityNames)}`,
    });
  for (const { capability: name, state } of changes)
    if (isCapability(name)) colo.setCapability(name, state);
}

const isCapability = (name: string): name is CapabilityName =>
  capabilityNames.some(known => known === name);

/** Waits for a migration, or begins to load a state; failures of a load are in query-migrate. */
async function incoming({ machine, colo, host }: Vm, uri: string): Promise<void> {
  if (machine.spec.incoming === undefined)
    throw new VmError("'-incoming' was not specified on the command line");
  if (machine.runState !== 'inmigrate')
    throw new VmError('The incoming migration has already been started');
  if (isAddress(parseMigrationUri(uri, 'listen'))) await colo.listen(uri);
  else
    colo
      .load(uri)
      .catch((error: unknown) => host.note(`migrate_incoming ${uri}: ${asVmError(error).message}`));
}

const onOff = (value: unknown) =>
  typeof value === 'boolean' ? (value ? 'on' : 'off') : value === '' ? "''" : String(value);

const settled: readonly MigrationStatus[] = ['none', 'cancelled', 'colo', 'completed', 'failed'];

async function untilSettled({ machine, colo }: Vm): Promise<string | undefined> {
  while (!settled.includes(colo.query().status)) await machine.events.once('MIGRATION');
  const { status, error } = colo.query();
  return status === 'failed' ? `Error: ${error ?? 'the migration failed'}` : undefined;
}
