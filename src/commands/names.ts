/** VM names as addresses: each VM with -name listens on RUNTIME/colo/NAME/qmp, which only its user can reach. */
import { accessSync, constants, existsSync, readdirSync, rmdirSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { asVmError, VmError } from '../base/errors.js';
import { didYouMean } from '../base/similar.js';
import { errorCode } from '../host/node/errors.js';
import { makeFolder, privateFolder } from '../host/node/folder.js';
import type { ListenerWorld, QmpListener } from '../monitor/qmp/listener.js';

type Env = Readonly<Record<string, string | undefined>>;

export const isVmName = (text: string) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(text);

/** XDG_RUNTIME_DIR, /run/user/UID where it is ours, or below the home directory. */
export function namesDir(env: Env = process.env, uid = process.getuid?.() ?? 0): string {
  const given = env['XDG_RUNTIME_DIR'];
  if (given !== undefined && given.startsWith('/')) return join(given, 'colo');
  const standard = `/run/user/${uid}`;
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
  return readdirSync(dir).filter(name => isVmName(name) && existsSync(nameSocket(name, dir))).sort();
}

export function noSuchVm(name: string, dir = namesDir()): VmError {
  const known = knownNames(dir);
  const hint = known.length === 0 ? 'No VM with a -name runs here as this user.' : `There is: ${known.join(', ')}.${didYouMean(name, known)}`;
  return new VmError(`there is no VM '${name}' on this host`, { class: 'DeviceNotFound', hint: `${hint} Other addresses are unix:PATH and tcp:HOST:PORT of a -qmp option.` });
}

/** Takes the name, or fails because a live VM has it. Where there is no place for sockets the VM runs all the same, with a note. */
export async function takeName(name: string, world: ListenerWorld, dir = namesDir()): Promise<QmpListener | undefined> {
  const path = nameSocket(name, dir);
  const listener = new (await import('../monitor/qmp/listener.js')).QmpListener(`unix:${path}`, world);
  try {
    if (!isVmName(name)) throw new VmError('a name for use as an address is letters, digits and - . _');
    for (const folder of [dir, dirname(path)]) {
      makeFolder(folder, privateFolder);
      await chmod(folder, privateFolder);
    }
    await listener.listen({ kind: 'unix', path });
  } catch (error) {
    listener.dispose();
    if (errorCode(asVmError(error).options.cause) === 'EADDRINUSE') throw new VmError(`-name ${name}: a VM of this name runs already`, { hint: `Look at it with: colo status ${name}` });
    world.log(`-name ${name}: not reachable by its name: ${asVmError(error).message}`);
    return undefined;
  }
  return listener;
}

/** The socket has gone with its listener; the folder goes too, unless somebody put something there. */
export function freeName(name: string, dir = namesDir()): void {
  try {
    rmdirSync(join(dir, name));
  } catch {
    // Not empty, or gone: either is fine.
  }
}
