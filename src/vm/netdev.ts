/**
 * Netdevs, opened on a host; a tap's scripts are run as QEMU runs them: SCRIPT IFNAME.
 */
import { asVmError, VmError } from '../base/errors.js';
import { charLabel } from '../chardev/parse.js';
import { SocketChar } from '../chardev/socket.js';
import type { Address, Host, Programs } from '../host/ports.js';
import type { NetdevSpec } from '../machine/spec.js';
import type { Netdev } from '../net/contract.js';
import type { VmLimits } from './host.js';
import { SocketNetdev } from '../net/netdev/socket.js';
import { TapNetdev } from '../net/netdev/tap.js';

const SCRIPT_TIMEOUT_MS = 30_000;

export interface NetHost extends Pick<Host, 'taps' | 'clock' | 'sockets' | 'programs'> {
  readonly limits: Pick<VmLimits, 'heldOutput'>;
  /** A line for people. */
  note(line: string): void;
}

export interface OpenNetdev {
  readonly netdev: Netdev;
  /** Takes the interface down again. */
  down(): Promise<void>;
}

export async function openNetdev(spec: NetdevSpec, host: NetHost): Promise<OpenNetdev> {
  return spec.type === 'tap' ? openTap(spec, host) : openSocket(spec, host);
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
