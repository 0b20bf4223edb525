/**
 * A supervisor as a service: its service manager hears when its VM is there, each step in one line,
 * and a sign of life for as long as its loop really goes round.
 */
import { asVmError } from '../../base/errors.js';
import type { Clock, ServiceManager } from '../../host/ports.js';
import type { SupervisedSide, SupervisorEvent } from './supervisor.js';

/** After what the manager did not take. */
const RETRY_MS = 1000;

export interface ServiceOptions {
  readonly manager: ServiceManager;
  readonly clock: Clock;
  note(line: string): void;
}

export class Service {
  private ready = false;
  private over = false;
  private status = '';
  private again = false;
  private unheard = '';
  /** When the loop has come by. */
  private roundMs: number;
  private resting = 0;

  constructor(private readonly options: ServiceOptions) {
    this.roundMs = options.clock.nowMs();
    const { watchdogMs } = options.manager;
    if (watchdogMs !== undefined) this.beat(watchdogMs / 2);
  }

  /** text: the event as a sentence. */
  tell(event: SupervisorEvent, text: string): void {
    this.ready ||= event.event === 'stands' && event.vm.state !== 'not answering';
    this.over ||= event.event === 'over';
    this.status = text.replace(/\s+/g, ' ');
    this.report();
  }

  stopping(): void {
    this.over = true;
    this.report();
  }

  /** The same side; whatever the supervisor asks of it is a step of its loop. */
  watch(side: SupervisedSide): SupervisedSide {
    const step = async <T>(answer: Promise<T>): Promise<T> => {
      const given = await answer;
      this.round();
      return given;
    };
    return {
      side: side.side,
      get stopping() {
        return side.stopping;
      },
      look: () => step(side.look()),
      record: () => step(side.record()),
      isElsewhere: record => step(side.isElsewhere(record)),
      start: role => side.start(role),
      quit: vm => step(side.quit(vm)),
      sleep: ms => this.rest(side.sleep(ms)),
      tell: event => side.tell(event),
    };
  }

  private round(): void {
    this.roundMs = this.options.clock.nowMs();
  }

  /** The loop means to wait, and for how long is its own decision. */
  private async rest(over: Promise<void>): Promise<void> {
    this.resting++;
    try {
      await over;
    } finally {
      this.resting--;
      this.round();
    }
  }

  /** All that is so: what was not taken before is in it. */
  private report(): void {
    const lines = [`STATUS=${this.status}`];
    if (this.ready) lines.unshift('READY=1');
    if (this.over) lines.unshift('STOPPING=1');
    if (this.send(lines.join('\n')) || this.again) return;
    this.again = true;
    this.options.clock.timer(RETRY_MS, () => {
      this.again = false;
      this.report();
    });
  }

  private beat(everyMs: number): void {
    const { clock, note } = this.options;
    let told = false;
    const look = () => {
      const silentMs = this.resting > 0 ? 0 : clock.nowMs() - this.roundMs;
      if (silentMs <= everyMs) this.send('WATCHDOG=1');
      else if (!told)
        note(`no step for ${Math.round(silentMs / 1000)} s: the service manager starts this again`);
      told = silentMs > everyMs;
      clock.timer(everyMs, look);
    };
    clock.timer(everyMs, look);
  }

  private send(lines: string): boolean {
    try {
      this.options.manager.notify(lines);
      this.unheard = '';
      return true;
    } catch (error) {
      const { message } = asVmError(error);
      if (message !== this.unheard) this.options.note(message);
      this.unheard = message;
      return false;
    }
  }
}
