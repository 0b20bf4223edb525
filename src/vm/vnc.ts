/** The VNC server of a VM. */
import { assert, VmError } from '../base/errors.js';
import type { Claim } from '../base/inventory.js';
import type { TlsContext } from '../host/ports.js';
import { VncServer } from '../vnc/server.js';
import { credentialsOf } from './objects.js';
import { standingOf } from './standing.js';
import type { Vm } from './vm.js';

/** If -vnc was given. It listens when this resolves, and ends with the VM. */
export async function openVnc(vm: Vm): Promise<void> {
  const { vnc: spec, name } = vm.spec;
  if (!spec) return;
  const { screen, input } = vm.machine.board;
  if (!screen) throw new VmError('-vnc: the machine has no graphics card: -vga std gives it one');
  const tls = spec.tlsCreds === undefined ? undefined : tlsOf(vm, spec.tlsCreds);
  const { clock, sockets, entropy } = vm.host;
  const server = new VncServer(spec, {
    clock,
    sockets,
    entropy,
    events: vm.machine.events,
    name,
    input,
    display: screen,
    tls: tls?.value,
    takesInput: () => standingOf(vm).role !== 'secondary',
    note: line => vm.host.note(line),
  });
  vm.endsLast({ dispose: () => (server.dispose(), tls?.dispose()) });
  await server.listen();
  vm.vnc = server;
}

/** VeNCrypt has certificates, or nothing that proves who is who. */
function tlsOf(vm: Vm, id: string): Claim<TlsContext> {
  const option = `-vnc ...,tls-creds=${id}`;
  const claim = credentialsOf(vm.objects)(id, 'server', option);
  const { sockets } = vm.host;
  if (claim.value.kind !== 'x509') {
    claim.dispose();
    throw new VmError(`${option}: VNC takes tls-creds-x509 only`);
  }
  assert(sockets.tls, 'this host speaks TLS');
  return { value: sockets.tls('server', claim.value), dispose: () => claim.dispose() };
}
