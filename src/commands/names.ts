/**
 * VM names as addresses: each VM with -name listens on RUNTIME/colo/NAME/qmp, which only its user
 * can reach.
 */
import { accessSync, constants, existsSync, readdirSync, rmdirSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { asVmError, VmError } from '../base/errors.js';
import { didYouMean } from '../base/similar.js';
import { errorCode } from '../host/node/errors.js';
import { makeFolder, PRIVATE_FOLDER } from '../host/node/folder.js';
import type { QmpListenerPorts, QmpListener } from '../monitor/qmp/listener.js';

type Env = Readonly<Record<string, string | undefined>>;

const LONGEST_NAME = 64;
export const isVmName = (text: string) => nameMistake(text) === undefined;

/** What keeps a name from being an address. */
export function nameMistake(text: string): string | undefined {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(text))
    return 'a name for use as an address is letters, digits and - . _';
  if (text.length <= LONGEST_NAME) return undefined;
  return (
    `a name for use as an address has at most ${LONGEST_NAME} characters, this has ` +
    `${text.length}`
  );
}

/**
 * XDG_RUNTIME_DIR, /run/user/UID where it is ours, or below the home directory. For root /run: a
 * VM of the system is in the same place for a service and for a login, and outlives both.
 */
export function namesDir(env: Env = process.env, uid = process.getuid?.() ?? 0): string {
  const given = env['XDG_RUNTIME_DIR'];
  const ofLogin = `/run/user/${uid}`;
  const standard = uid === 0 ? '/run' : ofLogin;
  if (given !== undefined && given.startsWith('/') && (uid !== 0 || given !== ofLogin))
    return join(given, 'colo');
  if (writable(standard)) return join(standard, 'colo');
  return join(env['HOME'] ?? homedir(), '.local/state/colo/run');
}

function writable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

export const nameSocket = (name: string, dir = namesDir()) => join(dir, name, 'qmp');

/** Of VMs that run, and of some that were killed. */
export function knownNames(dir = namesDir()): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .filter(name => isVmName(name) && existsSync(nameSocket(name, dir)))
    .sort();
}

/** Of VMs that run: a process that was killed leaves its socket there, and nobody answers on it. */
export async function liveNames(dir = namesDir()): Promise<string[]> {
  const names = knownNames(dir);
  const live = await Promise.all(names.map(name => answers(nameSocket(name, dir))));
  return names.filter((_, i) => live[i]);
}

function answers(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = createConnection({ path });
    const end = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

export async function noSuchVm(name: string, dir = namesDir()): Promise<VmError> {
  const known = await liveNames(dir);
  const hint =
    known.length === 0
      ? 'No VM with a -name runs here as this user.'
      : `There is: ${known.join(', ')}.${didYouMean(name, known)}`;
  const ended = existsSync(nameSocket(name, dir)) ? ' any more: it was killed' : '';
  return new VmError(`there is no VM '${name}' on this host${ended}`, {
    class: 'DeviceNotFound',
    hint: `${hint} Other addresses are unix:PATH and tcp:HOST:PORT of a -qmp option.`,
  });
}

/**
 * Takes the name, or fails because a live VM has it. Where there is no place for sockets the VM
 * runs all the same, with a note.
 */
export async function takeName(
  name: string,
  ports: QmpListenerPorts,
  dir = namesDir(),
): Promise<QmpListener | undefined> {
  const path = nameSocket(name, dir);
  const listener = new (await import('../monitor/qmp/listener.js')).QmpListener(
    `unix:${path}`,
    ports,
  );
  try {
    const mistake = nameMistake(name);
    if (mistake !== undefined) throw new VmError(mistake);
    for (const folder of [dir, dirname(path)]) {
      makeFolder(folder, PRIVATE_FOLDER);
      await chmod(folder, PRIVATE_FOLDER);
    }
    await listener.listen({ kind: 'unix', path });
  } catch (error) {
    listener.dispose();
    if (errorCode(asVmError(error).options.cause) === 'EADDRINUSE')
      throw new VmError(`-name ${name}: a VM of this name runs already`, {
        hint: `Look at it with: colo status ${name}`,
      });
    ports.log(`-name ${name}: not reachable by its name: ${asVmError(error).message}`);
    return undefined;
  }
  return listener;
}

/**
 * The socket has gone with its listener; the folder goes too, unless somebody put something there.
 */
export function freeName(name: string, dir = namesDir()): void {
  try {
    rmdirSync(join(dir, name));
  } catch {
    // Not empty, or gone: either is fine.
  }
}
