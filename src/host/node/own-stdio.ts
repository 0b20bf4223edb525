/**
 * Standard input, output and error as open files of this process alone. O_NONBLOCK belongs to the
 * open file, which a process shares with the shell that started it and with every other child of
 * that shell. Node sets it on a pipe, so the shell's next read or write could fail with EAGAIN,
 * while colo runs and, after kill -9, for good. A pipe can be opened again through /proc: that
 * gives another open file of the same pipe. libuv does so for a terminal by itself. A socket cannot
 * be opened again: Node restores its flags at exit, so the signals that would end the process
 * without an exit become one.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, readlinkSync } from 'node:fs';
import { assert } from '../../base/errors.js';

const ACCESS_MODES = constants.O_RDONLY | constants.O_WRONLY | constants.O_RDWR;
const STANDARD_FDS = [0, 1, 2] as const;
/** Their default action ends a process, and Node restores nothing. */
const UNHANDLED_SIGNALS = { SIGHUP: 1, SIGQUIT: 3, SIGALRM: 14, SIGUSR2: 12 } as const;

type UnhandledSignal = keyof typeof UNHANDLED_SIGNALS;

/** Before the first use of process.stdin, process.stdout and process.stderr. */
export function ownStandardStreams(): void {
  const shared = STANDARD_FDS.filter(fd => setsNonblocking(fd) && !reopen(fd));
  if (shared.length > 0) exitOnSignals();
}

function setsNonblocking(fd: number): boolean {
  const stat = fstatSync(fd);
  return stat.isFIFO() || stat.isSocket();
}

/**
 * False: it stays shared. A named FIFO is left alone: a reader that opens one after its last writer
 * has gone does not see the end.
 */
function reopen(fd: number): boolean {
  let spare: number;
  let flags: number;
  try {
    if (!readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:')) return false;
    flags = openFlags(fd);
    // Opened both ways, it waits for no peer, and lets the second open wait for none.
    spare = openSync(`/proc/self/fd/${fd}`, constants.O_RDWR);
  } catch {
    return false; // No /proc, or a pipe of another user.
  }
  closeSync(fd);
  const fresh = openSync(`/proc/self/fd/${spare}`, flags); // The lowest free number: fd.
  closeSync(spare);
  assert(fresh === fd, 'a file that is opened again has its number');
  return true;
}

function openFlags(fd: number): number {
  const [, octal] =
    /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
  assert(octal !== undefined, 'fdinfo has the flags');
  return parseInt(octal, 8) & (ACCESS_MODES | constants.O_DIRECT);
}

function exitOnSignals(): void {
  for (const name of Object.keys(UNHANDLED_SIGNALS) as UnhandledSignal[]) {
    if (isIgnored(UNHANDLED_SIGNALS[name])) continue;
    process.on(name, () => {
      // A command that handles the signal itself decides.
      if (process.listenerCount(name) === 1) process.exit(128 + UNHANDLED_SIGNALS[name]);
    });
  }
}

/** As nohup has it. */
function isIgnored(signal: number): boolean {
  const [, mask = '0'] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status()) ?? [];
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

function status(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    return '';
  }
}
