/** `colo status ADDRESS`: one VM's health at a glance. */
import { Flags } from '@oclif/core';
import { isObject } from '../monitor/types.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { age, vmLine, type VmLine } from './survey.js';

interface Health extends VmLine {
  verdict: string;
  colo: unknown;
  migration: unknown;
  disks: unknown;
}

export class Status extends ClientCommand {
  static override readonly summary = "show one VM's health at a glance";
  static override readonly description = 'Role, peer, checkpoints and disks, and what should be done if anything should.';
  static override readonly examples = ['<%= config.bin %> status pvm', '<%= config.bin %> status unix:/run/vm.qmp --json', '<%= config.bin %> status pvm --watch 2'];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    watch: Flags.integer({ char: 'w', min: 1, max: 3600, helpValue: 'SECONDS', description: 'again and again, until Ctrl-C or the end of the VM; with --json one line each time' }),
    timeout: timeoutFlag,
  };

  async run(): Promise<Health | undefined> {
    const { args, flags } = await this.parse(Status);
    const timeoutMs = flags.timeout * 1000;
    return this.withClient(args.address, timeoutMs, async client => {
      const look = () => examine(client, args.address, timeoutMs);
      if (flags.watch !== undefined) return this.watch(look, flags.watch);
      const health = await look();
      if (!this.jsonEnabled()) process.stdout.write(show(health));
      return health;
    });
  }

  /** On a terminal in place, elsewhere one after the other. Ends with the connection, which is a failure, or with Ctrl-C. */
  private async watch(look: () => Promise<Health>, seconds: number): Promise<never> {
    for (;;) {
      const health = await look();
      const clear = process.stdout.isTTY && !this.jsonEnabled() ? '\x1b[H\x1b[2J' : '';
      process.stdout.write(this.jsonEnabled() ? `${JSON.stringify(health)}\n` : `${clear}${show(health)}${clear === '' ? '\n' : ''}`);
      await new Promise(resolve => setTimeout(resolve, seconds * 1000));
    }
  }
}

async function examine(client: QmpClient, address: string, timeoutMs: number): Promise<Health> {
  const ask = (command: string) => client.execute(command, undefined, timeoutMs);
  const vm = await ask('query-vm');
  const name = isObject(vm) && typeof vm['name'] === 'string' ? vm['name'] : address;
  const line = vmLine(name, vm);
  const [colo, migration, disks] = await Promise.all([ask('query-colo-status'), ask('query-migrate'), ask('query-block')]);
  return { ...line, verdict: verdict(line, colo, migration), colo, migration, disks };
}

/** The one sentence that an operator wants. */
export function verdict(line: VmLine, colo: unknown, migration: unknown): string {
  const status = isObject(migration) ? migration['status'] : undefined;
  const reason = isObject(colo) ? colo['reason'] : undefined;
  if (line.state === 'internal-error') return 'the vCPU stopped with an error: reset or quit it';
  if (line.protected) return line.role === 'secondary' ? 'ready to take over' : 'protected: the loss of this host would be survived';
  if (line.role !== 'alone' && reason === 'error') return 'the peer is lost: x_colo_lost_heartbeat on the side that shall live';
  if (line.role === 'secondary') return 'waits for a primary: it cannot take over yet';
  if (line.role === 'primary') return 'on the way into COLO: not protected yet';
  if (status === 'failed') return `not protected: the migration failed (${String(isObject(migration) ? migration['error-desc'] : '')})`;
  return 'not protected: it has no secondary';
}

function show(health: Health): string {
  const rows: [string, string][] = [
    ['name', health.name],
    ['role', `${health.role}${health.peer === null ? '' : `, peer ${health.peer}`}`],
    ['state', health.state],
    ['health', health.verdict],
    ['age', `${age(health.ageMs)}, process ${health.pid ?? 'unknown'}`],
    ...checkpoints(health.colo),
    ...disks(health.disks),
  ];
  return rows.map(([title, text]) => `${title.padEnd(12)}${text}\n`).join('');
}

function checkpoints(colo: unknown): [string, string][] {
  const counted = isObject(colo) ? colo['statistics'] : undefined;
  if (!isObject(counted) || !isObject(counted['pauseMs'])) return [];
  const { p50, p99 } = counted['pauseMs'];
  return [['checkpoints', `${String(counted['checkpoints'])}, the guest paused ${Number(p50).toFixed(1)} ms (p50), ${Number(p99).toFixed(1)} ms (p99)`]];
}

function disks(all: unknown): [string, string][] {
  if (!Array.isArray(all)) return [];
  return all.filter(isObject).map(disk => {
    const inserted = isObject(disk['inserted']) ? disk['inserted'] : {};
    return ['disk', `${String(disk['device'] || inserted['node-name'])}: ${[inserted['drv'], inserted['file']].filter(Boolean).join(' ')}${inserted['ro'] === true ? ', read-only' : ''}`];
  });
}
