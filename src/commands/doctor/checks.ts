/**
 * What a host needs in order to run one side of a pair. Each check does the thing itself, and says
 * what to do when it fails.
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { detectKvm } from '../../accel/choose.js';
import { asVmError } from '../../base/errors.js';
import type { Address } from '../../host/ports.js';
import { makeFolder, PRIVATE_FOLDER } from '../../host/node/folder.js';
import { NodeSockets } from '../../host/node/sockets.js';
import { NodeTaps } from '../../host/node/taps.js';
import { addressText } from '../../monitor/qmp/client.js';
import { namesDir, nameSocket } from '../names.js';
import { runTinyGuest } from './tiny-guest.js';

export interface Finding {
  check: string;
  /** warn: works with less. fail: a side of a pair cannot run here. */
  result: 'ok' | 'warn' | 'fail';
  detail: string;
  /** What to do; empty when all is well. */
  advice: string;
}

export interface Wish {
  ramBytes: number;
  ports: readonly number[];
  /** The ports were named by the user: they must be free. */
  portsAsked: boolean;
  peer: Address | undefined;
}

type Judgement = Omit<Finding, 'check'>;
const ok = (detail: string): Judgement => ({ result: 'ok', detail, advice: '' });
const warn = (detail: string, advice: string): Judgement => ({ result: 'warn', detail, advice });
const fail = (detail: string, advice: string): Judgement => ({ result: 'fail', detail, advice });

const oldestNode = [20, 19] as const;
const FEWEST_FILES = 1024;
const LONGEST_SOCKET_PATH = 107;
const PATIENCE_MS = 3000;

export async function examineHost(wish: Wish): Promise<Finding[]> {
  const checks: [string, () => Judgement | Promise<Judgement>][] = [
    ['node', node],
    ['cpu', cpu],
    ['kvm', kvm],
    ['tun', tun],
    ['memory', () => memory(wish.ramBytes)],
    ['files', () => openFiles(readFileSync('/proc/self/limits', 'utf8'))],
    ['names', names],
    ...wish.ports.map((port): [string, () => Promise<Judgement>] => [
      `port ${port}`,
      () => freePort(port, wish.portsAsked),
    ]),
  ];
  const { peer } = wish;
  if (peer) checks.push(['peer', () => reach(peer)]);
  const findings: Finding[] = [];
  for (const [check, judge] of checks) findings.push({ check, ...(await attempt(judge)) });
  return findings;
}

async function attempt(judge: () => Judgement | Promise<Judgement>): Promise<Judgement> {
  try {
    return await judge();
  } catch (error) {
    return fail(
      asVmError(error).message,
      'This check itself could not be made: the message says why.',
    );
  }
}

function node(): Judgement {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const old = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1]);
  return old
    ? fail(`Node ${process.versions.node}`, `Install Node ${oldestNode.join('.')} or later.`)
    : ok(`Node ${process.versions.node}`);
}

function cpu(): Judgement {
  try {
    return ok(`the software CPU ran ${runTinyGuest()} instructions`);
  } catch (error) {
    return fail(
      asVmError(error).message,
      'The native addon is missing or broken: run `npm run build:native -- --force` and read ' +
        'what the compiler says.',
    );
  }
}

/** By running code on it. Never a failure: the software CPU runs everywhere. */
function kvm(): Judgement {
  const { kind, reason } = detectKvm();
  if (kind === 'full') return ok(`usable: ${reason}`);
  const advice =
    kind === 'none'
      ? 'Guests run on the software CPU. For KVM: a host with AMD-V or VT-x, and /dev/kvm open ' +
        'to this user.'
      : 'Guests run on the software CPU, for this KVM is slower and does not know all ' +
        'instructions.';
  return warn(`not used: ${reason}`, advice);
}

function tun(): Judgement {
  try {
    closeSync(openSync('/dev/net/tun', 'r+'));
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return fail(
      asVmError(error).message,
      missing
        ? 'Load the module: modprobe tun. In a container: pass --device /dev/net/tun.'
        : 'Let this user open /dev/net/tun (mode 0666 is usual).',
    );
  }
  try {
    const tap = new NodeTaps().open('colo%d');
    tap.dispose();
    return ok(`a tap could be made (${tap.ifname})`);
  } catch (error) {
    return warn(
      asVmError(error).message,
      'Only taps that were made for this user will work: ip tuntap add dev NAME mode tap user ' +
        'USER. Or run as root, or with CAP_NET_ADMIN.',
    );
  }
}

function memory(wanted: number): Judgement {
  const kib = /^MemAvailable: +([0-9]+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  const available = Number(kib ?? 0) * 1024;
  const detail = `${mib(available)} MiB available, a guest of ${mib(wanted)} MiB asked for`;
  if (available < wanted) return fail(detail, 'Free memory, or give the guest less (-m).');
  // A checkpoint on the way is staged beside the RAM: in the worst case all of it.
  return available < 2 * wanted
    ? warn(
        detail,
        'A guest that writes all its memory between two checkpoints needs twice its size here.',
      )
    : ok(detail);
}

const mib = (bytes: number) => Math.floor(bytes / 2 ** 20);

/** limits: /proc/self/limits. */
export function openFiles(limits: string): Judgement {
  const soft = /^Max open files +(\S+)/m.exec(limits)?.[1] ?? 'unknown';
  const enough = soft === 'unlimited' || Number(soft) >= FEWEST_FILES;
  return enough
    ? ok(`${soft} open files`)
    : warn(
        `${soft} open files`,
        `Raise it: ulimit -n ${FEWEST_FILES}, or LimitNOFILE= of the service.`,
      );
}

async function names(): Promise<Judgement> {
  const dir = namesDir();
  makeFolder(dir, PRIVATE_FOLDER);
  const longest = LONGEST_SOCKET_PATH - nameSocket('', dir).length;
  if (longest < 8)
    return warn(
      `${dir} is long: names have at most ${longest} characters`,
      'Set XDG_RUNTIME_DIR to a shorter path.',
    );
  return ok(`sockets of named VMs go to ${dir}`);
}

async function freePort(port: number, asked: boolean): Promise<Judgement> {
  try {
    (
      await new NodeSockets().listen({ kind: 'tcp', host: '127.0.0.1', port }, stream =>
        stream.destroy(),
      )
    ).dispose();
    return ok('free');
  } catch (error) {
    return (asked ? fail : warn)(
      asVmError(error).message,
      'Take another port for -incoming or nbd_server_start, or end who has it: ss -ltnp.',
    );
  }
}

async function reach(peer: Address): Promise<Judgement> {
  const where = addressText(peer);
  const from = performance.now();
  try {
    (await new NodeSockets().connect(peer, { timeoutMs: PATIENCE_MS })).destroy();
    return ok(`${where} answers, in ${(performance.now() - from).toFixed(1)} ms`);
  } catch (error) {
    return fail(
      asVmError(error).message,
      'Is the secondary there, with -incoming on this port, and no firewall between? Try it ' +
        'with: nc -vz HOST PORT.',
    );
  }
}
