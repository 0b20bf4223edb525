/**
 * What a terminal sends, cut into keys and given on one by one. While a command runs they wait, so
 * that each line of a paste is seen with its output below it. Between the marks of a paste
 * (bracketed paste mode) text is text: no Tab completes, no escape sequence acts.
 */
import { StringDecoder } from 'node:string_decoder';

export const pasteMode = { on: '\x1b[?2004h', off: '\x1b[?2004l' } as const;
const PASTE_BEGIN = '\x1b[200~';
const PASTE_END = '\x1b[201~';
export const ctrl = { c: '\x03', g: '\x07', r: '\x12' } as const;
export const ENTER = '\r';
/** Keys that wait; more of them are not typing. */
const MAX_WAITING = 64 << 10;
const escapeSequence = /^\x1b(?:\[[0-9;?<]*[@-~]|O[A-Za-z]|[^[O])/;
/** A sequence whose end is in the next chunk. A lone ESC is a key. */
const unfinished = /^\x1b(?:\[[0-9;?<]*|O)$/;

export interface KeySink {
  /** One character, or one escape sequence. */
  key(key: string): void;
  /** Ctrl-C, ahead of everything that waits: that is forgotten. */
  interrupt(): void;
  /** Keys were lost. */
  overflow(): void;
}

export class KeyGate {
  private readonly decoder = new StringDecoder('utf8');
  private rest = '';
  private waiting: string[] = [];
  private held = 0;
  private pasting = false;
  private draining = false;

  constructor(private readonly sink: KeySink) {}

  push(bytes: Uint8Array): void {
    this.rest += this.decoder.write(Buffer.from(bytes));
    for (let key = this.next(); key !== undefined; key = this.next()) this.arrived(key);
    this.drain();
  }

  /** Keys wait until as many release(). */
  hold(): void {
    this.held++;
  }

  release(): void {
    this.held--;
    this.drain();
  }

  private arrived(key: string): void {
    if (key === PASTE_BEGIN) this.pasting = true;
    else if (key === PASTE_END) this.pasting = false;
    else if (key === ctrl.c && !this.pasting) {
      this.waiting = [];
      this.sink.interrupt();
    } else if (this.waiting.length >= MAX_WAITING) this.sink.overflow();
    else if (!this.pasting) this.waiting.push(key === '\n' ? ENTER : key);
    else if (key === '\r' || key === '\n') this.waiting.push(ENTER);
    else if (key === '\t') this.waiting.push(' ');
    else if (key >= ' ' && key !== '\x7f') this.waiting.push(key);
  }

  private drain(): void {
    if (this.draining) return;
    this.draining = true;
    for (let i = 0; i < this.waiting.length; i++) {
      if (this.held > 0) {
        this.waiting.splice(0, i);
        this.draining = false;
        return;
      }
      this.sink.key(this.waiting[i]);
    }
    this.waiting = [];
    this.draining = false;
  }

  private next(): string | undefined {
    const text = this.rest;
    if (text === '' || unfinished.test(text)) return undefined;
    const pasted = this.pasting && !text.startsWith(PASTE_END);
    const key = text.startsWith('\r\n')
      ? text.slice(0, 2)
      : !pasted
        ? (escapeSequence.exec(text)?.[0] ?? firstCharacter(text))
        : firstCharacter(text);
    this.rest = text.slice(key.length);
    return key === '\r\n' ? ENTER : key;
  }
}

const firstCharacter = (text: string) => String.fromCodePoint(text.codePointAt(0) ?? 0);
