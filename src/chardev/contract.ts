/**
 * A byte channel between a device or a monitor (the front end) and the world. One front end per
 * channel. No peer, a peer that does not read and an error are ordinary states of a channel; none
 * of them disturbs the VM.
 */
import type { Disposable } from '../base/disposable.js';
import type { CredentialStore } from '../host/credentials.js';
import type { Address, Clock, Files, Sockets } from '../host/ports.js';

/** opened: a peer is there. closed: it is gone; a server waits for the next. */
export type CharEvent = 'opened' | 'closed';

export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  /** It shows colours, and its user wants them. */
  readonly colour: boolean;
  /** Its locale has no UTF-8. */
  readonly ascii?: boolean;
  /** It cannot move its cursor (TERM=dumb): it edits its lines itself. */
  readonly dumb: boolean;
  onResize(fn: () => void): void;
  /** Set when others use it too (mux=on). */
  readonly shared?: SharedTerminal;
}

export interface SharedTerminal {
  /** Keys come while it has the focus; without it nothing that is written is shown. */
  onFocus(fn: (focused: boolean) => void): void;
  /**
   * Whole lines that others say meanwhile: to be shown without breaking a line that is being typed.
   * Not asked for: they appear anywhere.
   */
  onAside(fn: (text: string) => void): void;
}

export interface CharBackend extends Disposable {
  readonly id: string;
  /** What it is, for people: `unix:/run/x,server=on`. */
  readonly label: string;
  /** True between opened and closed. Always true for null and file. */
  readonly connected: boolean;
  /** The peer is a terminal that sends every key: a monitor edits lines on it. */
  readonly terminal: Terminal | undefined;
  /**
   * Front end -> world; copied before it returns. True: all of it was taken, or dropped because
   * there is no peer. False: no room, nothing was taken; onRoom is called when there is.
   */
  write(bytes: Uint8Array): boolean;
  onRoom(fn: () => void): void;
  /**
   * World -> front end, in order. The bytes are the front end's until it returns. Bytes that arrive
   * before the first onData are kept.
   */
  onData(fn: (bytes: Uint8Array) => void): void;
  /** Called at once with `opened` if a peer is there already. */
  onEvent(fn: (event: CharEvent) => void): void;
  /**
   * The peer sends nothing more, and still reads (after the last of its bytes was delivered). A
   * front end that asks for it answers what is open and hangs up by itself; for any other the
   * channel hangs up at once.
   */
  onInputEnd(fn: () => void): void;
  /** A break on the line (Ctrl-A b of a mux). Absent: such a channel has none. */
  onBreak?(fn: () => void): void;
  /**
   * The front end has no room for input (a UART whose FIFO is full): nothing is delivered until
   * resume. Both are idempotent.
   */
  pause(): void;
  resume(): void;
  /**
   * Ends the connection to its peer now, whatever was written. Absent where there is no connection.
   */
  yank?(): void;
  /**
   * Hangs up after what was written has left; a server then waits for the next peer. Nothing to do
   * for null and file.
   */
  hangUp(): void;
  /**
   * The front end leaves. The peer stays connected, and is not read until the next front end
   * listens.
   */
  release(): void;
  /**
   * After dispose(): resolves when what was written is where it goes. Absent: it does not matter,
   * or is so at once.
   */
  readonly closed?: Promise<void>;
}

/**
 * What an option says: `null`, `stdio`, `file:PATH`, `unix:PATH,server=on,wait=off`,
 * `tcp:HOST:PORT,...`, `-chardev socket,...`.
 */
export type CharSpec =
  | { kind: 'null' }
  /**
   * On a terminal. lines: it edits them (QMP). characters: one by one, Ctrl-C still a signal
   * (serial). keys: Ctrl-C too is input (REPL).
   */
  | { kind: 'stdio'; input: 'lines' | 'characters' | 'keys' }
  | { kind: 'file'; path: string; append: boolean }
  | { kind: 'ringbuf'; sizeBytes: number }
  /**
   * wait: a server does not let the machine start before its first peer is there. reconnectMs 0: a
   * client that lost its peer stays alone.
   */
  | {
      kind: 'socket';
      address: Address;
      server: boolean;
      wait: boolean;
      reconnectMs: number;
      /** The tls-creds object. */
      tlsCreds?: string;
    }
  /** mux=on: several front ends share it. */
  | { kind: 'mux'; base: CharSpec };

/** Standard input and output of the process, as an injected port. */
export interface Stdio {
  /** Set when both are a terminal. */
  readonly terminal: Terminal | undefined;
  /** cooked: the terminal edits lines and makes signals. raw: neither, and no echo. */
  setMode(mode: 'cooked' | 'raw'): void;
  /** Ctrl-C was typed where it is a signal. */
  interrupt(): void;
  /**
   * False: the reader is slow; onDrain is called when it has caught up. The bytes are taken in any
   * case.
   */
  write(bytes: Uint8Array): boolean;
  onDrain(fn: () => void): void;
  onData(fn: (bytes: Uint8Array) => void): void;
  /** End of file on standard input: never the end of a VM. */
  onEnd(fn: () => void): void;
  pause(): void;
  resume(): void;
}

/** What createChardev (chardev/create.ts) needs of the world. */
export interface CharPorts {
  readonly files: Files;
  readonly sockets: Sockets;
  readonly clock: Clock;
  readonly stdio: Stdio;
  readonly credentials: CredentialStore;
  /** A line for people, on standard error. */
  log(line: string): void;
}
