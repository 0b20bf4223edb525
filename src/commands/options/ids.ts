/** The ids of what a command line names, and names for what was given without one. */
import { VmError } from '../../base/errors.js';

/** Both sides of a pair count alike. */
export class Ids {
  private readonly counts = new Map<string, number>();
  private readonly taken = new Map<string, Set<string>>();

  fresh(prefix: string): string {
    const n = this.counts.get(prefix) ?? 0;
    this.counts.set(prefix, n + 1);
    return `${prefix}${n}`;
  }

  /** Each kind (drive, device, ...) is a name space of its own. */
  claim(kind: string, id: string): string {
    const names = this.taken.get(kind) ?? new Set();
    this.taken.set(kind, names);
    if (!/^[A-Za-z][A-Za-z0-9._-]*$/.test(id))
      throw new VmError(`'${id}' is not an id: letters, digits and - . _, a letter first`);
    if (names.has(id)) throw new VmError(`there are two ${kind}s with id '${id}'`);
    names.add(id);
    return id;
  }
}
