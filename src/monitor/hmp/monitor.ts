/** HMP on a chardev: a line editor on a terminal, plain lines for any other peer. */
import { PassThrough, Writable } from 'node:stream';
import type { CharBackend, Terminal } from '../../chardev/contract.js';
import type { Disposable } from '../../base/disposable.js';
import { onEveryEvent } from '../events.js';
import { Output } from '../output.js';
import type { MonitorWorld } from '../qmp/server.js';
import type { Registry } from '../schema.js';
import type { VmControl } from '../vm.js';
import { complete } from './completion.js';
import { eventLine } from './event-line.js';
import { LineMonitor, prompt } from './lines.js';
import { Repl } from './repl.js';
import { HmpShell } from './shell.js';

export class HmpMonitor implements Disposable {
  private readonly output: Output;
  private readonly shell: HmpShell;
  private lines: LineMonitor | undefined;
  private repl: { repl: Repl; input: PassThrough } | undefined;
  private readonly events: Disposable;

  constructor(
    private readonly vm: VmControl,
    private readonly registry: Registry,
    private readonly chr: CharBackend,
    private readonly world: MonitorWorld,
  ) {
    this.shell = new HmpShell(registry, vm, true);
    this.output = new Output(chr, queued => this.overflow(queued));
    this.events = onEveryEvent(vm, (name, data) => this.repl?.repl.print(eventLine(name, data)));
    chr.onData(bytes => (this.repl ? this.repl.input.write(Buffer.from(bytes)) : this.lines?.push(bytes)));
    chr.onEvent(event => (event === 'opened' ? this.open() : this.close()));
    chr.onInputEnd(() => (this.repl ? this.repl.repl.close() : this.lines?.endInput()));
  }

  dispose(): void {
    this.events.dispose();
    this.close();
  }

  private get banner(): string {
    const { major, minor, micro } = this.vm.version;
    return `colo ${major}.${minor}.${micro} monitor - type 'help' for more information`;
  }

  private open(): void {
    this.close();
    if (this.chr.terminal) return this.openRepl(this.chr.terminal);
    const lineEnd = this.chr.label === 'stdio' ? '\n' : '\r\n';
    this.lines = new LineMonitor(
      {
        send: text => this.output.write(text.replaceAll('\n', lineEnd)),
        drained: () => this.output.drained(),
        congested: on => (on ? this.chr.pause() : this.chr.resume()),
        finished: () => this.chr.hangUp(),
        run: line => this.shell.run(line),
      },
      this.banner,
    );
    this.lines.greet();
  }

  private openRepl(terminal: Terminal): void {
    const input = new PassThrough();
    const repl = new Repl({
      input,
      output: terminalWriter(terminal, text => this.output.write(text)),
      prompt,
      banner: this.banner,
      run: line => this.shell.run(line),
      complete: line => Promise.resolve(complete(this.registry, this.vm, line)),
      left: () => this.left(),
    });
    this.repl = { repl, input };
  }

  private left(): void {
    this.repl = undefined;
    this.output.write("\r\nleft the monitor; the VM goes on ('quit' would end it, as Ctrl-C does now)\r\n");
    this.chr.hangUp();
  }

  private close(): void {
    this.lines?.close();
    this.lines = undefined;
    this.repl?.repl.close();
    this.repl = undefined;
    this.output.clear();
    this.chr.resume();
  }

  private overflow(queued: number): void {
    this.world.log(`HMP client on ${this.chr.label} does not read: ${queued} bytes dropped, connection closed`);
    this.chr.hangUp();
  }
}

/** What readline wants of an output: a Writable that knows its width. A raw terminal needs CR LF. */
function terminalWriter(terminal: Terminal, send: (text: string) => void): Writable {
  const writable = new Writable({
    decodeStrings: false,
    write(chunk: Buffer | string, _encoding, done) {
      send(String(chunk).replace(/\r?\n/g, '\r\n'));
      done();
    },
  });
  Object.defineProperty(writable, 'columns', { get: () => terminal.columns });
  terminal.onResize(() => writable.emit('resize'));
  return writable;
}
