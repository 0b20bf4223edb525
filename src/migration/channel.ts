/** Opens what a migration URI names, to send or to receive. */
import type { Address, Files, Replacement, Shell, Sockets, Stream } from '../host/ports.js';
import { FileStream } from './file-stream.js';
import type { Endpoint } from './uri.js';

export interface Channel {
  readonly stream: Stream;
  /** The other end cannot answer: a file, a command. */
  readonly oneWay: boolean;
  /** What is written counts only when it is whole. */
  readonly result?: Pick<Replacement, 'keep' | 'discard'>;
}

export interface Transports {
  readonly sockets: Sockets;
  readonly files: Pick<Files, 'open' | 'replace'>;
  readonly shell: Shell;
}

/** A state file holds all of a guest's memory: its owner alone may read it. */
const STATE_FILE_MODE = 0o600;

export async function openOutgoing(
  endpoint: Endpoint,
  { sockets, files, shell }: Transports,
  timeoutMs: number,
): Promise<Channel> {
  switch (endpoint.kind) {
    case 'file': {
      // With an offset the state is a part of an existing file, which is written in place.
      if (endpoint.offset === 0) {
        const result = await files.replace(endpoint.path, STATE_FILE_MODE);
        return { stream: new FileStream(result.file, 0, 'write'), oneWay: true, result };
      }
      const file = await files.open(endpoint.path, {
        readOnly: false,
        lock: 'auto',
        create: true,
        mode: STATE_FILE_MODE,
      });
      try {
        await file.truncate(endpoint.offset);
      } catch (error) {
        await file.close();
        throw error;
      }
      return { stream: new FileStream(file, endpoint.offset, 'write'), oneWay: true };
    }
    case 'exec':
      return { stream: shell.run(endpoint.command, 'to'), oneWay: true };
    default:
      return { stream: await sockets.connect(endpoint, { timeoutMs }), oneWay: false };
  }
}

/** The transfer was given up, so the stream is not needed any more. */
export function closeChannel({ stream, result }: Channel): void {
  stream.destroy();
  void result?.discard();
}

/** What is not a socket: there is nothing to wait for. */
export async function openIncoming(
  endpoint: Exclude<Endpoint, Address>,
  { files, shell }: Transports,
): Promise<Channel> {
  if (endpoint.kind === 'exec')
    return { stream: shell.run(endpoint.command, 'from'), oneWay: true };
  const file = await files.open(endpoint.path, { readOnly: true, lock: 'auto' });
  return { stream: new FileStream(file, endpoint.offset, 'read'), oneWay: true };
}
