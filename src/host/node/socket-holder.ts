/**
 * Whether the other end of a loopback connection is in a certain process of this host, and not in a
 * tunnel's or a proxy's: then the end of the connection is that process's own doing, or its death.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { readFileSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';

const HOLDER = /^([0-9a-f-]{36}) (pid:\[\d+\]) (\d{1,10}) (\d+)$/;
/** As /proc/net/tcp and tcp6 print them, v4 within v6 too; other networks of 127 are no default. */
const LOOPBACK = new Map([
  ['127.0.0.1', '0100007F'],
  ['::ffff:127.0.0.1', '0100007F'],
  ['::1', '00000000000000000000000001000000'],
]);

/** Of a process, by what no other one of any host has. undefined: this system does not say. */
export function ownHolder(): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const space = readlinkSync('/proc/self/ns/pid');
    return `${boot} ${space} ${process.pid} ${startOf(readFileSync('/proc/self/stat', 'latin1'))}`;
  } catch {
    return undefined;
  }
}

/** False also where it cannot be known. */
export async function otherEndIsHeldBy(socket: Socket, holder: string): Promise<boolean> {
  const [, boot, space, pid, start] = HOLDER.exec(holder) ?? [];
  const own = ownHolder();
  if (pid === undefined || !own?.startsWith(`${boot} ${space} `)) return false;
  try {
    const inode = await inodeOfOtherEnd(socket);
    if (inode === undefined) return false;
    const fds = await readdir(`/proc/${pid}/fd`);
    const links = fds.map(fd => readlink(`/proc/${pid}/fd/${fd}`).catch(() => ''));
    const holds = (await Promise.all(links)).includes(`socket:[${inode}]`);
    return holds && startOf(await readFile(`/proc/${pid}/stat`, 'latin1')) === start;
  } catch {
    return false; // another user's process, or gone
  }
}

async function inodeOfOtherEnd(socket: Socket): Promise<string | undefined> {
  const here = spot(socket.localAddress, socket.localPort);
  const there = spot(socket.remoteAddress, socket.remotePort);
  if (here === undefined || there === undefined) return undefined;
  const tables = ['tcp', 'tcp6'].map(name =>
    readFile(`/proc/self/net/${name}`, 'latin1').catch(() => ''),
  );
  for (const line of (await Promise.all(tables)).join('\n').split('\n')) {
    const [, local, remote, , , , , , , inode] = line.trim().split(/\s+/);
    if (plain(local) === there && plain(remote) === here) return inode;
  }
  return undefined;
}

function spot(address = '', port = 0): string | undefined {
  const hex = LOOPBACK.get(address);
  return hex && `${hex}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}

const plain = (entry = '') => entry.replace(/^0{16}F{4}0{4}/i, '');

/** When the process began: the 22nd field, behind a name that may hold anything. */
const startOf = (stat: string) => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
