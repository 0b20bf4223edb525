/** HMP on a chardev: a line editor on a terminal, plain lines for any other peer. */
import type { CharBackend, Terminal } from '../../chardev/contract.js';
import type { Disposable } from '../../base/disposable.js';
import { type EventName, isForPeople, onEveryEvent } from '../events.js';
import { failoverDoubt, healthOf, pairNews } from '../health.js';
import { Output } from '../output.js';
import type { MonitorPorts } from '../qmp/server.js';
import type { Registry } from '../schema.js';
import type { Vm } from '../../vm/vm.js';
import type { Clock } from '../../host/ports.js';
import { complete } from './completion.js';
import { eventLine } from './event-line.js';
import { failoverGuard } from './failover-guard.js';
import { LineMonitor, PROGRAM_PROMPT, PROMPT } from './lines.js';
import { Repl } from './repl.js';
import type { History } from './history.js';
import { HmpShell } from './shell.js';

/** What a person brings to a prompt. */
export interface Typist {
  readonly clock: Clock;
  readonly history?: History;
  files(prefix: string): Promise<readonly string[]>;
  /** What this process has to say meanwhile goes there; false: not now. */
  notes?(to: (line: string) => boolean): void;
}

export interface HmpPorts extends MonitorPorts {
  /** Absent: there is no person, and a terminal gets plain lines too. */
  readonly typist?: Typist;
}

export class HmpMonitor implements Disposable {
  private readonly output: Output;
  private readonly shell: HmpShell;
  private lines: LineMonitor | undefined;
  private repl: Repl | undefined;
  private readonly events: Disposable;

  constructor(
    private readonly vm: Vm,
    private readonly registry: Registry,
    private readonly chr: CharBackend,
    private readonly ports: HmpPorts,
  ) {
    this.shell = new HmpShell(registry, vm, true);
    this.output = new Output(chr, queued => this.overflow(queued));
    this.events = onEveryEvent(vm, (name, data) => this.happened(name, data));
    chr.onData(bytes => (this.repl ? this.repl.push(bytes) : this.lines?.push(bytes)));
    chr.onEvent(event => (event === 'opened' ? this.open() : this.close()));
    chr.onInputEnd(() => (this.repl ? this.leave(this.repl) : this.lines?.endInput()));
  }

  dispose(): void {
    this.events.dispose();
    this.close();
  }

  private doubt(): string | undefined {
    return failoverDoubt(healthOf(this.vm));
  }

  private happened(name: EventName, data: object): void {
    if (!this.repl || !isForPeople(name, data)) return;
    if (name !== 'COLO_EXIT') return this.repl.print(eventLine(name, data));
    const news = pairNews(healthOf(this.vm), 'x_colo_lost_heartbeat');
    this.repl.print(`${news.join('\n')}\n`);
  }

  private get banner(): string {
    const { major, minor, micro } = this.vm.host.process.version;
    return `colo ${major}.${minor}.${micro} monitor - type 'help' for more information`;
  }

  private open(): void {
    this.close();
    const { terminal } = this.chr;
    const { typist } = this.ports;
    if (terminal && !terminal.dumb && typist) return this.openRepl(terminal, typist);
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
      terminal ? PROMPT : PROGRAM_PROMPT,
    );
    this.lines.greet();
  }

  private openRepl(terminal: Terminal, { clock, history, files, notes }: Typist): void {
    const { colour, ascii } = terminal;
    const style = {
      get columns() {
        return terminal.columns;
      },
      colour,
      ascii,
    };
    const guard = failoverGuard(() => Promise.resolve(this.doubt()));
    this.repl = new Repl({
      terminal,
      // A raw terminal needs CR LF.
      write: text => this.output.write(text.replace(/\r?\n/g, '\r\n')),
      prompt: PROMPT,
      banner: this.banner,
      clock,
      history,
      run: async line => (await guard(line)) ?? this.shell.run(line, style),
      assist: line => Promise.resolve(complete(this.registry, this.vm, line)),
      files,
      left: () => this.left(),
    });
    let focused = terminal.shared === undefined;
    terminal.shared?.onFocus(on => {
      focused = on;
      this.repl?.focus(on);
    });
    notes?.(line => {
      if (!focused) return false;
      if (line !== '') this.repl?.print(line);
      return this.repl !== undefined;
    });
    terminal.shared?.onAside(text => this.repl?.print(text));
  }

  /** The input has ended. */
  private leave(repl: Repl): void {
    repl.close();
    this.left();
  }

  private left(): void {
    this.repl = undefined;
    const goesOn = this.chr.terminal?.shared
      ? 'back at the console: Ctrl-A c leads here again'
      : "left the monitor; the VM goes on ('quit' would end it, as Ctrl-C does now)";
    this.output.write(`\r\n${goesOn}\r\n`);
    this.chr.hangUp();
  }

  private close(): void {
    this.lines?.close();
    this.lines = undefined;
    this.repl?.close();
    this.repl = undefined;
    this.output.clear();
    this.chr.resume();
  }

  private overflow(queued: number): void {
    this.ports.log(
      `HMP client on ${this.chr.label} does not read: ${queued} bytes dropped, connection closed`,
    );
    this.chr.hangUp();
  }
}
