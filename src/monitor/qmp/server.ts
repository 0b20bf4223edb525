/** QMP on a chardev: a session for every peer that connects. */
import type { CharBackend } from '../../chardev/contract.js';
import type { Disposable } from '../../base/disposable.js';
import { onEveryEvent } from '../events.js';
import { HmpShell } from '../hmp/shell.js';
import type { Style } from '../hmp/style.js';
import { Output } from '../output.js';
import type { Registry } from '../schema.js';
import type { Vm } from '../../vm/vm.js';
import { QmpSession } from './session.js';

export interface MonitorPorts {
  wallMs(): number;
  /** For people: a client was dropped, and why. */
  log(line: string): void;
}

export class QmpServer implements Disposable {
  private readonly output: Output;
  private readonly events: Disposable;
  private session: QmpSession | undefined;

  constructor(
    private readonly vm: Vm,
    private readonly registry: Registry,
    private readonly chr: CharBackend,
    private readonly ports: MonitorPorts,
  ) {
    this.output = new Output(chr, queued => this.overflow(queued));
    this.events = onEveryEvent(vm, (name, data) => this.session?.event(name, data));
    chr.onData(bytes => this.session?.push(bytes));
    chr.onEvent(event => {
      if (event === 'opened') this.open();
      else this.close();
    });
    chr.onInputEnd(() => this.session?.endInput());
  }

  dispose(): void {
    this.events.dispose();
    this.close();
  }

  private open(): void {
    this.close();
    const shell = new HmpShell(this.registry, this.vm, false);
    const context = {
      registry: this.registry,
      hmp: (line: string, style?: Style) => shell.run(line, style),
      mayWait: false,
    };
    this.session = new QmpSession(this.vm, context, {
      send: line => this.output.write(line),
      drained: () => this.output.drained(),
      congested: on => (on ? this.chr.pause() : this.chr.resume()),
      finished: () => this.chr.hangUp(),
      wallMs: () => this.ports.wallMs(),
    });
    this.session.greet();
  }

  private close(): void {
    this.session?.close();
    this.session = undefined;
    this.output.clear();
    this.chr.resume();
  }

  private overflow(queued: number): void {
    this.ports.log(
      `QMP client on ${this.chr.label} does not read: ${queued} bytes dropped, connection closed`,
    );
    this.chr.hangUp();
  }
}
