/** From a spec to a channel. */
import { assertNever } from '../base/errors.js';
import { claimTls } from '../host/credentials.js';
import type { Address, Sockets } from '../host/ports.js';
import { SecureSockets } from '../host/secure-sockets.js';
import type { TlsEndpoint } from '../host/tls-creds.js';
import type { CharBackend, CharSpec, CharPorts } from './contract.js';
import { FileChar } from './file.js';
import { MuxChar } from './mux.js';
import { NullChar } from './null.js';
import { charLabel } from './parse.js';
import { RingbufChar } from './ringbuf.js';
import { SocketChar } from './socket.js';
import { StdioChar } from './stdio.js';

/**
 * Rejects with a VmError that names what could not be opened. A server with wait resolves when its
 * first peer is there.
 */
export async function createChardev(
  id: string,
  spec: CharSpec,
  ports: CharPorts,
): Promise<CharBackend> {
  switch (spec.kind) {
    case 'null':
      return new NullChar(id);
    case 'stdio':
      return new StdioChar(id, ports.stdio, spec.input);
    case 'file': {
      const file = await ports.files.open(spec.path, {
        readOnly: false,
        lock: 'none',
        create: true,
      });
      if (!spec.append) await file.truncate(0);
      return new FileChar(id, charLabel(spec), file, await file.size(), line => ports.log(line));
    }
    case 'ringbuf':
      return new RingbufChar(id, spec.sizeBytes);
    case 'socket': {
      const labelled = (address: Address) => charLabel({ ...spec, address });
      const log = (line: string) => ports.log(line);
      const sockets = socketsOf(id, spec, ports);
      const channel = new SocketChar(
        id,
        labelled,
        { ...ports, sockets, log },
        spec.address,
        spec.reconnectMs,
      );
      await (spec.server ? channel.listen(spec.wait) : channel.dial());
      return channel;
    }
    case 'mux':
      return new MuxChar(await createChardev(id, spec.base, ports), ports.clock);
    default:
      return assertNever(spec);
  }
}

function socketsOf(
  id: string,
  { tlsCreds }: Extract<CharSpec, { kind: 'socket' }>,
  ports: CharPorts,
): Sockets {
  if (tlsCreds === undefined) return ports.sockets;
  const user = `chardev '${id}'`;
  return new SecureSockets(ports, {
    claim: (endpoint: TlsEndpoint) =>
      claimTls(ports.sockets, ports.credentials, tlsCreds, endpoint, user),
    hostname: undefined,
    note: line => ports.log(`${user}: ${line}`),
  });
}
