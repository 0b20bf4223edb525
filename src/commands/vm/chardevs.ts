/** The character devices of a machine: opened from its spec, each with one user at a time. */
import { VmError } from '../../base/errors.js';
import { type Claim, Inventory } from '../../base/inventory.js';
import type { CharBackend, CharSpec, CharWorld } from '../../chardev/contract.js';
import { createChardev } from '../../chardev/create.js';
import type { ChardevProvider } from '../../machine/parts.js';
import type { ChardevSpec } from '../../machine/spec.js';

const maxChardevs = 256;

export class Chardevs implements ChardevProvider {
  private readonly open = new Inventory<CharBackend>({
    kind: 'chardev',
    limit: maxChardevs,
    use: 'exclusive',
    duplicate: id => new VmError(`Chardev with id '${id}' already exists`),
  });

  private constructor(private readonly world: CharWorld) {}

  static async create(specs: readonly ChardevSpec[], world: CharWorld): Promise<Chardevs> {
    const chardevs = new Chardevs(world);
    try {
      for (const { id, backend } of specs) await chardevs.add(id, backend);
      return chardevs;
    } catch (error) {
      chardevs.close();
      throw error;
    }
  }

  async add(id: string, backend: CharSpec): Promise<CharBackend> {
    return this.open.add(id, () => createChardev(id, backend, this.world));
  }

  claim(id: string, user: string): Claim<CharBackend> {
    return this.open.claim(id, user);
  }

  info() {
    return this.open.values.map(({ id, label, connected }) => ({ id, label, connected, used: this.open.usersOf(id).length > 0 }));
  }

  yankable(): string[] {
    return this.open.values.filter(chr => chr.yank).map(({ id }) => id);
  }

  yank(id: string): void {
    this.open.values.find(chr => chr.id === id)?.yank?.();
  }

  close(): void {
    for (const chr of this.open.values) chr.dispose();
  }
}
