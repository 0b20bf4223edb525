/**
 * The objects of a machine's spec: early ones before drives and chardevs, which may use them, late
 * ones when those are open.
 */
import { asVmError, assert } from '../base/errors.js';
import type { CredentialStore } from '../host/credentials.js';
import type { MachineSpec } from '../machine/spec.js';
import { objectTypeNamed } from './objects/all.js';
import { Objects } from './objects/registry.js';
import { type TlsCreds, tlsCredsTypes } from './objects/tls-creds.js';
import type { ObjectType, ObjectContext } from './objects/type.js';
import type { Chardevs } from './chardevs.js';
import type { Network } from './network.js';

/** late: what objects can use when the machine is built; undefined before. */
export function objectsOf(
  host: ObjectContext['host'] & Pick<ObjectContext, 'note'>,
  late: () => { readonly net: Network; readonly chardevs: Chardevs } | undefined,
): Objects {
  const built = () => {
    const backends = late();
    assert(backends, 'objects that use a netdev or a chardev are added after the machine');
    return backends;
  };
  return new Objects({
    host,
    note: line => host.note(line),
    netdev: (id, user) => built().net.use(id, user),
    chardev: (id, user) => built().chardevs.claim(id, user),
  });
}

export async function addObjects(
  spec: MachineSpec,
  objects: Objects,
  phase: ObjectType['phase'],
): Promise<void> {
  for (const { type, id, properties } of spec.objects) {
    if (objectTypeNamed(type).phase !== phase) continue;
    await objects.objectAdd(type, id, properties).catch((error: unknown) => {
      throw asVmError(error).during(`-object ${type},id=${id}`);
    });
  }
}

/** For the block layer: who names a tls-creds object gets what it holds for its side. */
export function credentialsOf(objects: Objects): CredentialStore {
  return (id, endpoint, user) => {
    const claim = objects.claim<TlsCreds>(tlsCredsTypes, id, user);
    try {
      return { value: claim.value.for(endpoint), dispose: () => claim.dispose() };
    } catch (error) {
      claim.dispose();
      throw error;
    }
  };
}
