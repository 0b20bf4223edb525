/** The front end's half of a channel: who listens, and what waits while it has no room. */
import type { CharEvent } from './contract.js';

export class Front {
  private data: ((bytes: Uint8Array) => void) | undefined;
  private inputEnd: (() => void) | undefined;
  private kept: Uint8Array[] = [];
  private ending: (() => void) | undefined;
  private paused = false;
  private handlingEvent: ((event: CharEvent) => void) | undefined;
  private handlingRoom: (() => void) | undefined;

  /** True: deliver may be called; bytes that come anyway are kept. */
  get open(): boolean {
    return this.data !== undefined && !this.paused;
  }

  setData(fn: (bytes: Uint8Array) => void): void {
    this.data = fn;
    this.flush();
  }

  setEvent(fn: (event: CharEvent) => void): void {
    this.handlingEvent = fn;
  }

  setRoom(fn: () => void): void {
    this.handlingRoom = fn;
  }

  setInputEnd(fn: () => void): void {
    this.inputEnd = fn;
  }

  /** What was kept was meant for the front end that leaves. */
  release(): void {
    this.data = this.inputEnd = this.handlingEvent = this.handlingRoom = undefined;
    this.kept = [];
    this.paused = false;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.flush();
  }

  deliver(bytes: Uint8Array): void {
    if (this.open && this.kept.length === 0) this.data?.(bytes);
    else this.kept.push(Uint8Array.from(bytes));
  }

  /**
   * The peer's last byte was delivered, now or later; then the front end is called, or
   * `otherwise` is.
   */
  end(otherwise: () => void): void {
    this.ending = () => (this.inputEnd ?? otherwise)();
    this.flush();
  }

  event(event: CharEvent): void {
    if (event === 'closed') {
      this.kept = [];
      this.ending = undefined;
    }
    this.handlingEvent?.(event);
  }

  room(): void {
    this.handlingRoom?.();
  }

  private flush(): void {
    while (this.open && this.kept.length > 0) {
      const bytes = this.kept.shift();
      if (bytes) this.data?.(bytes);
    }
    if (this.kept.length > 0 || this.data === undefined) return;
    const ending = this.ending;
    this.ending = undefined;
    ending?.();
  }
}
