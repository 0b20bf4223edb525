/**
 * -pidfile: held by a lock from before the VM is built until its process ends, so that no second VM
 * takes or removes it. The lock is on the file's first bytes as QEMU's is: each refuses the
 * other's. A file that a kill -9 left is nobody's, and is taken over.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  constants,
  writeSync,
} from 'node:fs';
import { VmError } from '../../base/errors.js';
import { hostModule } from '../../host/node/addon.js';
import { systemError } from '../../host/node/errors.js';

const { O_CREAT, O_RDWR } = constants;
const FILE_MODE = 0o644;
const ATTEMPTS = 10;

export interface Pidfile {
  /** The VM is there. */
  write(): void;
}

export function takePidfile(path: string): Pidfile {
  const fd = lockedFile(path);
  process.once('exit', () => rmSync(path, { force: true }));
  ftruncateSync(fd);
  return {
    write: () => {
      try {
        writeSync(fd, `${process.pid}\n`, 0);
      } catch (error) {
        throw systemError(`-pidfile ${path}`, error);
      }
    },
  };
}

function lockedFile(path: string): number {
  for (let n = 0; n < ATTEMPTS; n++) {
    const fd = open(path);
    if (!fstatSync(fd).isFile()) throw new VmError(`-pidfile ${path}: this is no file`);
    if (!hostModule().ofdLock(fd, 'exclusive', 0, 0)) {
      closeSync(fd);
      throw taken(path);
    }
    if (isNamed(path, fd)) return fd;
    closeSync(fd); // its owner ended and took it away, between our opening and our lock
  }
  throw new VmError(`-pidfile ${path}: it comes and goes`);
}

function open(path: string): number {
  try {
    return openSync(path, O_RDWR | O_CREAT, FILE_MODE);
  } catch (error) {
    throw systemError(`-pidfile ${path}`, error);
  }
}

function isNamed(path: string, fd: number): boolean {
  const named = statSync(path, { throwIfNoEntry: false });
  const { dev, ino } = fstatSync(fd);
  return named?.ino === ino && named.dev === dev;
}

function taken(path: string): VmError {
  const pid = readFileSync(path, 'utf8').trim();
  const user = /^\d+$/.test(pid) ? `process ${pid} has it` : 'a process that starts has it';
  return new VmError(`-pidfile ${path}: ${user}`, { hint: 'Give each VM a file of its own.' });
}
