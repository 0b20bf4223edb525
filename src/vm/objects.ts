/**
 * The objects of a machine's spec: early ones before drives and chardevs, which may use them, late
 * ones when those are open.
 */
import { asVmError, assert } from '../base/errors.js';
import type { CredentialStore } from '../block/nbd/credentials.js';
import type { MachineSpec } from '../machine/spec.js';
import { objectTypeNamed } from './objects/all.js';
import { Objects } from './objects/registry.js';
import { type TlsCreds, tlsCredsTypes } from './objects/tls-creds.js';
import type { ObjectType, ObjectWorld } from './objects/type.js';
import type { Chardevs } from './chardevs.js';
import type { Network } from './network.js';

/** opened: filled while the machine is built. */
export function objectsOf(
  host: ObjectWorld['host'] & Pick<ObjectWorld, 'note'>,
  opened: { network?: Network; chardevs?: Chardevs },
): Objects {
  return new Objects({
    host,
    note: line => host.note(line),
    netdev: (id, user) => {
      assert(opened.network, 'objects that use a netdev are late');
      return opened.network.use(id, user);
    },
    chardev: (id, user) => {
      assert(opened.chardevs, 'objects that use a chardev are late');
      return opened.chardevs.claim(id, user);
    },
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
