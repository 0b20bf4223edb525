/** Options about the pair: its definition, the peer, whose disks are kept. */
import { parseArbiterSeat } from '../../arbiter/address.js';
import { VmError } from '../../base/errors.js';
import { syncSides } from '../../migration/manifest.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import type { VmOption } from './option.js';

export const configOption: VmOption = {
  name: 'config',
  value: 'FILE',
  summary:
    'a pair definition, colo-pair(5), as `colo init` writes it; other options add to it or ' +
    'replace what it says',
  // The command reads the file before any option is taken.
  readBefore: true,
  take: () => undefined,
};

export const sideOption: VmOption = {
  name: 'side',
  value: 'a|b',
  summary:
    'with --config: the host that this is, a: what the definition calls primary, b: what it ' +
    'calls secondary; default: the one of the command. For roles the other way round, after ' +
    'a failover',
  // The command reads it with the file.
  readBefore: true,
  take: () => undefined,
};

export const rejoinOption: VmOption = {
  name: 'rejoin',
  summary:
    'with --config: whenever the guest is here and alone, look for its secondary until it is ' +
    'there, and protect the guest again',
  // The command hands it to who reads the file.
  readBefore: true,
  take: () => undefined,
};

export const insecureOption: VmOption = {
  name: 'insecure',
  summary:
    'with --config: without `tls` in the definition also over a network, where all who get ' +
    'there may read the guest and change it',
  // The command hands it to who reads the file.
  readBefore: true,
  take: () => undefined,
};

export const syncFromOption: VmOption = {
  name: 'sync-from',
  value: 'primary|secondary',
  summary:
    'of a primary, for this once: whose disks are kept where those of the two sides differ ' +
    'and no record says which are newer; the others are overwritten',
  take(draft, value, { spelled }) {
    if (draft.role !== 'primary') throw new VmError('the primary is told whose disks are kept');
    const side = syncSides.find(one => one === value);
    if (!side) throw new VmError(`it is ${syncSides.join(' or ')}, not '${value}'`);
    const global = { driver: 'migration', property: 'x-sync-from', value: side, spelled };
    draft.globals = [...draft.globals, global];
  },
};

export const arbiterOption: VmOption = {
  name: 'arbiter',
  value: 'ADDRESS,node=NAME,peer=NAME',
  summary:
    'who decides in place of a person when the peer is lost: file:DIR, a directory that both ' +
    'hosts mount, each where it likes; etcd:https://HOST:PORT,...,key=KEY[,tls=DIR]; ' +
    'exec:COMMAND,dir=DIR, a fence agent. node and peer: what this side and the other are called ' +
    'there. timeout=MS bounds each question',
  take(draft, value) {
    draft.spec.arbiter = parseArbiterSeat(value);
  },
};

export const incomingOption: VmOption = {
  name: 'incoming',
  value: 'URI',
  summary:
    'wait on tcp:HOST:PORT (HOST 0: any address) or unix:PATH: a secondary for its primary, ' +
    'a primary for a guest that migrates; load a saved guest: file:PATH[,offset=N], ' +
    'exec:COMMAND; defer: wait for migrate_incoming',
  take(draft, value) {
    if (
      value !== 'defer' &&
      !isAddress(parseMigrationUri(value, 'listen')) &&
      draft.role === 'secondary'
    ) {
      throw new VmError('a secondary waits for a primary on tcp: or unix:', {
        hint: 'A saved guest is loaded by `colo primary -incoming file:PATH`.',
      });
    }
    draft.spec.incoming = value;
  },
};
