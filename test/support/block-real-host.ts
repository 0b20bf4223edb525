/**
 * The least real host that the block interop tests need: files, sockets, clock of Node, without
 * locks.
 */
import { open, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { VmError } from '../../src/base/errors.js';
import type { BlockHost } from '../../src/block/graph/graph.js';
import type { Address, Stream } from '../../src/host/ports.js';

function wrap(socket: net.Socket): Stream {
  socket.setNoDelay(true);
  let failure: Error | undefined;
  socket.on('error', error => (failure = error));
  return {
    peer: 'peer',
    get pending() {
      return socket.writableLength;
    },
    write: bytes =>
      new Promise((resolve, reject) =>
        socket.write(bytes, error => (error ? reject(error) : resolve())),
      ),
    onData: fn => void socket.on('data', fn),
    onEnd: fn => void socket.on('close', () => fn(failure)),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    end: () => void socket.end(),
    destroy: () => void socket.destroy(),
    dispose: () => void socket.destroy(),
  };
}

const target = (address: Address) =>
  address.kind === 'tcp' ? { host: address.host, port: address.port } : { path: address.path };

export const realHost: BlockHost = {
  clock: {
    nowMs: () => performance.now(),
    bootMs: () => performance.now(),
    wallMs: () => Date.now(),
    timer: (ms, fn) => {
      const timer = setTimeout(fn, ms);
      return { dispose: () => clearTimeout(timer) };
    },
  },
  sockets: {
    connect: address =>
      new Promise((resolve, reject) => {
        const socket = net.connect(target(address));
        socket.once('error', error => reject(new VmError(error.message, { cause: error })));
        socket.once('connect', () => resolve(wrap(socket)));
      }),
    listen: (address, onStream) =>
      new Promise((resolve, reject) => {
        const server = net.createServer(socket => onStream(wrap(socket)));
        server.once('error', reject);
        server.listen(target(address), () => {
          const bound = server.address();
          const actual: Address =
            address.kind === 'tcp' && bound && typeof bound !== 'string'
              ? { ...address, port: bound.port }
              : address;
          resolve({ address: actual, dispose: () => void server.close() });
        });
      }),
  },
  files: {
    readFile: path => readFile(path),
    unlink: path => unlink(path),
    replace: () => Promise.reject(new VmError('no file is replaced here')),
    async open(path, { readOnly, create }) {
      const handle = await open(path, readOnly ? 'r' : create ? 'w+' : 'r+');
      return {
        path,
        readOnly,
        // Beside the image: the kernel's attributes need the addon.
        label: {
          read: () => readFile(`${path}.label`).catch(() => undefined),
          write: bytes =>
            bytes
              ? writeFile(`${path}.label`, bytes, { flush: true })
              : rm(`${path}.label`, { force: true }),
        },
        size: async () => (await handle.stat()).size,
        pread: async (buffer, offset) =>
          (await handle.read(buffer, 0, buffer.length, offset)).bytesRead,
        pwrite: async (buffer, offset) =>
          void (await handle.write(buffer, 0, buffer.length, offset)),
        fdatasync: () => handle.datasync(),
        // One process has its files alone.
        lock: () => Promise.resolve(),
        unlock: () => undefined,
        truncate: size => handle.truncate(size),
        punchHole: () => Promise.reject(new VmError('no holes here')),
        close: () => handle.close(),
      };
    },
  },
};
