/** The arbiter behind an address. */
import { assertNever } from '../base/errors.js';
import type { Host } from '../host/ports.js';
import { loadX509 } from '../host/tls-creds.js';
import type { ArbiterAddress } from './address.js';
import type { Arbiter } from './contract.js';
import { EtcdArbiter } from './etcd-arbiter.js';
import { ExecArbiter } from './exec-arbiter.js';
import { FileArbiter } from './file-arbiter.js';

export type ArbiterHost = Pick<
  Host,
  'clock' | 'entropy' | 'folders' | 'files' | 'http' | 'programs'
>;

/** VmError: its certificates cannot be read. Nobody is asked yet. */
export async function openArbiter(address: ArbiterAddress, host: ArbiterHost): Promise<Arbiter> {
  const { clock, entropy, files, folders, http, programs } = host;
  switch (address.kind) {
    case 'file':
      return new FileArbiter(folders.open(address.dir), clock, entropy, address.timeoutMs);
    case 'etcd': {
      const { endpoints, key, tls, timeoutMs } = address;
      const credentials =
        tls === undefined
          ? undefined
          : await loadX509(files, { dir: tls, endpoint: 'client', verifyPeer: true });
      return new EtcdArbiter(http, clock, { endpoints, key, timeoutMs, credentials });
    }
    case 'exec': {
      const { command, dir, timeoutMs } = address;
      return new ExecArbiter(programs, folders.open(dir), clock, entropy, { command, timeoutMs });
    }
    default:
      return assertNever(address);
  }
}
