/** `colo status ADDRESS`: one VM's health at a glance. */
import { styleText } from 'node:util';
import { Flags } from '@oclif/core';
import { isObject } from '../words/types.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { type Verdict, verdict } from '../monitor/health.js';
import { wantsColour } from './output.js';
import { progressOf } from './progress.js';
import { ageCell, healthFrom, stateColour, stateWord, vmLine, type VmLine } from './survey.js';
import { type Awaited, awaited, untilPair } from './wait-pair.js';

interface Health extends VmLine {
  verdict: string;
  /** What to do about it, if anything. */
  todo?: string;
  colo: unknown;
  migration: unknown;
  disks: unknown;
}

export class Status extends ClientCommand {
  static override readonly summary = "show one VM's health at a glance";
  static override readonly description =
    'Role, peer, checkpoints and disks, why it is so and since when, and what should be done if ' +
    'anything should. With --wait it returns when the pair stands so, at once if it does ' +
    'already: ' +
    'exit code 0; 1 when the time is over, or the VM.';
  static override readonly examples = [
    '<%= config.bin %> status pvm',
    '<%= config.bin %> status unix:/run/vm.qmp --json',
    '<%= config.bin %> status pvm --watch 2',
    '<%= config.bin %> status web-secondary --wait lost --timeout 86400',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    watch: Flags.integer({
      char: 'w',
      min: 1,
      max: 3600,
      helpValue: 'SECONDS',
      description:
        'again and again, until Ctrl-C or the end of the VM; with --json one line each time',
    }),
    wait: Flags.string({
      options: [...awaited],
      exclusive: ['watch'],
      description:
        'until the pair is protected, lost (COLO has ended by itself), or this side alone; ' +
        'at most --timeout seconds',
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<Health | undefined> {
    const { args, flags } = await this.parse(Status);
    const timeoutMs = flags.timeout * 1000;
    return this.withClient(args.address, timeoutMs, async client => {
      const look = () => examine(client, args.address, timeoutMs);
      if (flags.wait !== undefined) await untilPair(client, flags.wait as Awaited, timeoutMs);
      if (flags.watch !== undefined) return this.watch(look, flags.watch);
      const health = await look();
      if (!this.jsonEnabled()) process.stdout.write(show(health));
      return health;
    });
  }

  /**
   * On a terminal in place, elsewhere one after the other. Ends with the connection, which is a
   * failure, or with Ctrl-C.
   */
  private async watch(look: () => Promise<Health>, seconds: number): Promise<never> {
    for (;;) {
      const health = await look();
      const clear = process.stdout.isTTY && !this.jsonEnabled() ? '\x1b[H\x1b[2J' : '';
      process.stdout.write(
        this.jsonEnabled()
          ? `${JSON.stringify(health)}\n`
          : `${clear}${show(health)}${clear === '' ? '\n' : ''}`,
      );
      await new Promise(resolve => setTimeout(resolve, seconds * 1000));
    }
  }
}

async function examine(client: QmpClient, address: string, timeoutMs: number): Promise<Health> {
  const ask = (command: string) => client.execute(command, undefined, timeoutMs);
  const vm = await ask('query-vm');
  const name = isObject(vm) && typeof vm['name'] === 'string' ? vm['name'] : address;
  const line = vmLine(name, vm);
  const [colo, migration, disks] = await Promise.all([
    ask('query-colo-status'),
    ask('query-migrate'),
    ask('query-block'),
  ]);
  const { text, todo } = adviceFor(vm, address);
  return { ...line, verdict: text, ...(todo !== undefined && { todo }), colo, migration, disks };
}

/** The one sentence that an operator wants, in the words of the shell. */
export function adviceFor(vm: unknown, address: string): Verdict {
  if (isObject(vm) && vm['pair'] === undefined) {
    return { text: 'it does not say: no VM of this version' };
  }
  return verdict(healthFrom(vm), `colo failover ${address}`);
}

function show(health: Health): string {
  const colour = wantsColour(process.stdout, process.env);
  const painted = (text: string) => (colour ? styleText(stateColour(health), text) : text);
  const rows: [string, string][] = [
    ['name', health.name],
    ['role', `${health.role}${health.peer === null ? '' : `, peer ${health.peer}`}`],
    ['state', stateWord(health)],
    ['health', painted(health.verdict)],
    ...(health.todo === undefined ? [] : [['', health.todo] as [string, string]]),
    ...since(health),
    ['age', `${ageCell(health.ageMs)}, process ${health.pid ?? 'unknown'}`],
    ...progress(health.migration),
    ...checkpoints(health.colo),
    ...disks(health.disks),
  ];
  return rows.map(([title, text]) => `${title.padEnd(12)}${text}\n`).join('');
}

function since({ sinceMs, lastCheckpointMs: last }: Health): [string, string][] {
  if (sinceMs === null) return [];
  const checkpoint = last === null ? '' : `, last checkpoint ${(last / 1000).toFixed(1)} s ago`;
  return [['since', `${ageCell(sinceMs)}${checkpoint}`]];
}

/** What a way into COLO, or a migration, has behind it. */
function progress(migration: unknown): [string, string][] {
  const text = progressOf(migration);
  return text === undefined ? [] : [['progress', text]];
}

function checkpoints(colo: unknown): [string, string][] {
  const counted = isObject(colo) ? colo['statistics'] : undefined;
  if (!isObject(counted) || !isObject(counted['pauseMs'])) return [];
  const { p50, p99 } = counted['pauseMs'];
  return [
    [
      'checkpoints',
      `${String(counted['checkpoints'])}, the guest paused ${Number(p50).toFixed(1)} ms ` +
        `(p50), ${Number(p99).toFixed(1)} ms (p99)`,
    ],
  ];
}

function disks(all: unknown): [string, string][] {
  if (!Array.isArray(all)) return [];
  return all.filter(isObject).map(disk => {
    if (!isObject(disk['inserted'])) return ['disk', `${String(disk['device'])}: empty`];
    const { inserted } = disk;
    const name = String(disk['device'] || inserted['node-name']);
    const what = [inserted['drv'], inserted['file']].filter(Boolean).join(' ');
    return ['disk', `${name}: ${what}${inserted['ro'] === true ? ', read-only' : ''}`];
  });
}
