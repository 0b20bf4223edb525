/** The character devices of a machine: opened from its spec, each with one user at a time. */
import { Disposables } from '../base/disposable.js';
import { deviceNotFound, VmError } from '../base/errors.js';
import { type Claim, Inventory } from '../base/inventory.js';
import type { CharBackend, CharSpec, CharPorts } from '../chardev/contract.js';
import { createChardev } from '../chardev/create.js';
import { MuxChar, type MuxCommand } from '../chardev/mux.js';
import type { MuxRole } from '../chardev/mux-front.js';
import { RingbufChar } from '../chardev/ringbuf.js';
import { StdioChar } from '../chardev/stdio.js';
import type { ChardevProvider } from '../machine/ports.js';
import type { ChardevSpec } from '../machine/spec.js';
import { filesClosed } from './closing.js';

const MAX_CHARDEVS = 256;

export class Chardevs implements ChardevProvider {
  private readonly open = new Inventory<CharBackend>({
    kind: 'chardev',
    limit: MAX_CHARDEVS,
    use: 'exclusive',
    duplicate: id => new VmError(`Chardev with id '${id}' already exists`),
  });

  private constructor(private readonly ports: CharPorts) {}

  static async create(specs: readonly ChardevSpec[], ports: CharPorts): Promise<Chardevs> {
    const chardevs = new Chardevs(ports);
    try {
      for (const { id, backend } of specs) await chardevs.add(id, backend);
      return chardevs;
    } catch (error) {
      await chardevs.close();
      throw error;
    }
  }

  async add(id: string, backend: CharSpec): Promise<void> {
    const stdio =
      backend.kind === 'stdio' &&
      this.open.values.find(
        chr => chr instanceof StdioChar || (chr instanceof MuxChar && chr.isStdio),
      );
    if (stdio) throw new VmError(`standard input is taken by chardev '${stdio.id}'`);
    await this.open.add(id, () => createChardev(id, backend, this.ports));
  }

  /** chardev-remove. */
  remove(id: string): void {
    if (!this.open.get(id)) throw new VmError(`Chardev '${id}' not found`);
    const users = this.open.usersOf(id);
    if (users.length > 0) throw new VmError(`Chardev '${id}' is busy: ${users.join(', ')} uses it`);
    this.open.take(id)?.dispose();
  }

  ringbuf(id: string): RingbufChar {
    const found = this.open.get(id);
    if (!found) throw deviceNotFound(id);
    if (!(found instanceof RingbufChar)) throw new VmError(`${id} is not a ringbuf device`);
    return found;
  }

  /** role: what the user is to the others of a mux. */
  claim(id: string, user: string, role: MuxRole = 'console'): Claim<CharBackend> {
    const shared = this.open.get(id);
    if (shared instanceof MuxChar) {
      // The first of several users stands for all: a mux in use stays.
      if (this.open.usersOf(id).length === 0) this.open.claim(id, user);
      return { value: shared.front(role), dispose: () => undefined };
    }
    const claim = this.open.claim(id, user);
    const end = new Disposables();
    end.add(claim);
    end.defer(() => claim.value.release());
    return { value: claim.value, dispose: () => end.dispose() };
  }

  onMuxCommand(fn: (command: MuxCommand, mux: MuxChar) => void): void {
    for (const chr of this.open.values)
      if (chr instanceof MuxChar) chr.onCommand(command => fn(command, chr));
  }

  info() {
    return this.open.values.map(({ id, label, connected }) => ({
      id,
      label,
      connected,
      used: this.open.usersOf(id).length > 0,
    }));
  }

  yankable(): string[] {
    return this.open.values.filter(chr => chr.yank).map(({ id }) => id);
  }

  yank(id: string): void {
    this.open.values.find(chr => chr.id === id)?.yank?.();
  }

  /** Resolves when files have all that was written to them, or hang. */
  async close(): Promise<void> {
    const all = [...this.open.values];
    for (const chr of all) chr.dispose();
    const { clock, log } = this.ports;
    await filesClosed(
      clock,
      all.map(chr => chr.closed),
      log,
    );
  }
}
