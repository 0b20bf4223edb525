/** From a spec to a channel. */
import { assertNever } from '../base/errors.js';
import type { Address } from '../host/ports.js';
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
  world: CharPorts,
): Promise<CharBackend> {
  switch (spec.kind) {
    case 'null':
      return new NullChar(id);
    case 'stdio':
      return new StdioChar(id, world.stdio, spec.input);
    case 'file': {
      const file = await world.files.open(spec.path, {
        readOnly: false,
        lock: 'none',
        create: true,
      });
      if (!spec.append) await file.truncate(0);
      return new FileChar(id, charLabel(spec), file, await file.size(), line => world.log(line));
    }
    case 'ringbuf':
      return new RingbufChar(id, spec.sizeBytes);
    case 'socket': {
      const labelled = (address: Address) => charLabel({ ...spec, address });
      const log = (line: string) => world.log(line);
      const channel = new SocketChar(
        id,
        labelled,
        { ...world, log },
        spec.address,
        spec.reconnectMs,
      );
      await (spec.server ? channel.listen(spec.wait) : channel.dial());
      return channel;
    }
    case 'mux':
      return new MuxChar(await createChardev(id, spec.base, world), world.clock);
    default:
      return assertNever(spec);
  }
}
