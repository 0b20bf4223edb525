/**
 * ADDRESS of the client commands: the name of a VM on this host, `unix:PATH` or `tcp:HOST:PORT`.
 */
import { asVmError } from '../base/errors.js';
import { parseTcp } from '../chardev/parse.js';
import type { Address } from '../host/ports.js';
import { isVmName, nameSocket } from './names.js';
import { UsageError } from './options/argv.js';

const HINT =
  'An address is the -name of a VM on this host (see colo list), or unix:PATH or ' +
  'tcp:HOST:PORT as given to -qmp.';

export function parseAddress(text: string): Address {
  if (/^unix:./.test(text)) return { kind: 'unix', path: text.slice('unix:'.length) };
  if (isVmName(text)) return { kind: 'unix', path: nameSocket(text) };
  if (!text.startsWith('tcp:')) throw new UsageError(`'${text}' is not an address`, { hint: HINT });
  try {
    const address = parseTcp(text.slice('tcp:'.length));
    return address.host === '' ? { ...address, host: 'localhost' } : address;
  } catch (error) {
    throw new UsageError(`'${text}' is not an address: ${asVmError(error).message}`, {
      hint: HINT,
    });
  }
}
