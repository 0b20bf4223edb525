/**
 * Netdevs, opened on a host; a tap's scripts are run as QEMU runs them: SCRIPT IFNAME.
 */
import { assertNever, asVmError, VmError } from '../base/errors.js';
import { charLabel } from '../chardev/parse.js';
import { SocketChar } from '../chardev/socket.js';
import type { Address, Host, Programs } from '../host/ports.js';
import type { NetdevSpec } from '../machine/spec.js';
import type { Netdev } from '../net/contract.js';
import type { VmLimits } from './host.js';
import { SocketNetdev } from '../net/netdev/socket.js';
import { TapNetdev } from '../net/netdev/tap.js';
import { UserNetdev } from '../net/netdev/user.js';

const SCRIPT_TIMEOUT_MS = 30_000;

export interface NetHost extends Pick<
  Host,
  'taps' | 'userNets' | 'clock' | 'sockets' | 'programs'
> {
  readonly limits: Pick<VmLimits, 'heldOutput'>;
  /** A line for people. */
  note(line: string): void;
}

export interface OpenNetdev {
  readonly netdev: Netdev;
  /** Takes the interface down again. */
  down(): Promise<void>;
}

/** guestComes: it is elsewhere until this VM runs for the first time. */
export async function openNetdev(
  spec: NetdevSpec,
  host: NetHost,
  guestComes: boolean,
): Promise<OpenNetdev> {
  switch (spec.type) {
    case 'tap':
      return openTap(spec, host);
    case 'socket':
      return openSocket(spec, host);
    case 'user':
      return openUser(spec, host, guestComes);
    default:
      return assertNever(spec);
  }
}

function openUser(
  { id, config, forwards }: Extract<NetdevSpec, { type: 'user' }>,
  host: NetHost,
  guestComes: boolean,
): OpenNetdev {
  const { userNets, clock, limits } = host;
  if (!userNets) throw new VmError('this host has no user network');
  try {
    const netdev = UserNetdev.open(
      id,
      { config, forwards, waits: guestComes },
      { nets: userNets, clock, note: line => host.note(`netdev ${id}: ${line}`) },
      limits.heldOutput,
    );
    return { netdev, down: () => Promise.resolve() };
  } catch (error) {
    throw asVmError(error).during(`-netdev user,id=${id}`);
  }
}

async function openTap(
  spec: Extract<NetdevSpec, { type: 'tap' }>,
  { taps, clock, programs, limits }: NetHost,
): Promise<OpenNetdev> {
  const tap = taps.open(spec.ifname);
  try {
    await runScript(programs, spec.script, '/etc/qemu-ifup', tap.ifname);
  } catch (error) {
    tap.dispose();
    throw error;
  }
  return {
    netdev: new TapNetdev(spec.id, tap, clock, limits.heldOutput),
    down: () => runScript(programs, spec.downscript, '/etc/qemu-ifdown', tap.ifname),
  };
}

async function openSocket(
  { id, address, server }: Extract<NetdevSpec, { type: 'socket' }>,
  host: NetHost,
): Promise<OpenNetdev> {
  const log = (line: string) => host.note(line);
  const labelled = (at: Address) =>
    charLabel({ kind: 'socket', address: at, server, wait: false, reconnectMs: 0 });
  const chr = new SocketChar(id, labelled, { ...host, log }, address, 0);
  await (server ? chr.listen(false) : chr.dial());
  return {
    netdev: new SocketNetdev(id, chr, host.clock, line => log(`netdev ${id}: ${line}`)),
    down: () => Promise.resolve(),
  };
}

/** no: none. Not given: QEMU's default one, where the host has it. */
async function runScript(
  programs: Programs,
  script: string | undefined,
  standard: string,
  ifname: string,
): Promise<void> {
  if (script === 'no' || script === '') return;
  if (script === undefined && !(await programs.executable(standard))) return;
  const path = script ?? standard;
  try {
    await programs.run(path, [ifname], SCRIPT_TIMEOUT_MS);
  } catch (error) {
    throw new VmError(`network script ${path} ${ifname} failed: ${asVmError(error).message}`, {
      hint: 'script=no and downscript=no leave the interface as it is.',
      cause: error,
    });
  }
}
