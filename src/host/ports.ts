/**
 * The world as colo sees it. Everything that depends on time, sockets, files or chance takes one of
 * these by constructor, so that a whole pair also runs inside one seeded simulation. The only real
 * ones are in host/node (tidy enforces it).
 */
import type { Disposable } from '../base/disposable.js';

export interface Clock {
  /** Monotonic host time, milliseconds with fraction. */
  nowMs(): number;
  /** The same while the host runs, and it counts the time that the host was suspended. */
  bootMs(): number;
  /** Wall time, milliseconds since 1970. */
  wallMs(): number;
  /** Calls fn once after delayMs, on the main loop. */
  timer(delayMs: number, fn: () => void): Disposable;
}

/**
 * A byte stream to a peer. Writes are ordered; `write` resolves when the data has left our queue or
 * rejects when the stream is dead.
 */
export interface Stream extends Disposable {
  readonly peer: string;
  /**
   * Both ends are processes of this host, and its kernel itself says when one is gone. A network
   * may say so of a peer that lives.
   */
  readonly local?: boolean;
  /** bytes are not copied: the caller must not change them until the promise settles. */
  write(bytes: Uint8Array): Promise<void>;
  /** Unsent bytes in our queue. */
  readonly pending: number;
  /**
   * Data events arrive in order; return value ignored. Set once, before the first turn of the main
   * loop ends.
   */
  onData(fn: (bytes: Uint8Array) => void): void;
  /**
   * The peer closed its direction, or the stream died (error set). Called exactly once; after it
   * nothing more arrives.
   */
  onEnd(fn: (error?: Error) => void): void;
  /** Stop and restart delivery of data (back-pressure). */
  pause(): void;
  resume(): void;
  /** Half-close: no more writes from us; reading continues. */
  end(): void;
  /** Both directions, at once. */
  destroy(): void;
  /**
   * From now on a write that fails does not end the stream: what the peer sent before it left is
   * delivered, and then comes the end. Missing: it is so in any case.
   */
  readToEnd?(): void;
  /** This end's process, in words by which one of the same host knows it. */
  readonly holder?: string | undefined;
  /**
   * The other end is in that process of this host (its `holder`), so that this kernel knows its
   * end: no network, tunnel or proxy has a part in it. False also where that cannot be known.
   */
  heldBy?(holder: string): Promise<boolean>;
  /** VmError: the host lets none be heard here. Missing: this connection has none. */
  heartbeat?(options: HeartbeatOptions): Heartbeat;
}

export interface HeartbeatOptions {
  /** 16 bytes that only the two ends know: what is not made with them is no sign of life. */
  key: Uint8Array;
  /** This end has made the connection. */
  caller: boolean;
  intervalMs: number;
  /** A main loop that has not turned for so long is stuck, and no life is shown any more. */
  loopLimitMs: number;
}

/**
 * Signs of life between the processes of a connection's two ends, sent and heard apart from the
 * main loop: what holds that up makes neither side look dead. They go beside the connection and
 * may be lost. They say that a process lives, not that it has taken anything.
 */
export interface Heartbeat extends Disposable {
  /** Where this end listens. */
  readonly port: number;
  /**
   * The caller's: where the other end listens. That end answers to where it hears from. VmError:
   * the host knows no way there.
   */
  aim(port: number): void;
  /** The main loop has turned, and may be busy for so much longer than usual. */
  turned(busyMs?: number): void;
  setInterval(ms: number): void;
  /**
   * Since the last sign of the other end, in time that this process was awake. undefined: none was
   * heard ever.
   */
  readonly silentMs: number | undefined;
}

export type Address = { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };

export interface Listener extends Disposable {
  /** With the port that the system chose, if 0 was asked. */
  readonly address: Address;
}

export interface X509Credentials {
  kind: 'x509';
  ca: Uint8Array;
  certificate?: Uint8Array;
  key?: Uint8Array;
  verifyPeer: boolean;
}

/** What one side of TLS shows, and what it asks of the other. Certificates and keys in PEM. */
export type TlsCredentials =
  | X509Credentials
  /**
   * A server takes every client that knows one of the keys; a client has exactly one, under its own
   * name.
   */
  | { kind: 'psk'; keys: ReadonlyMap<string, Uint8Array> };

/** Credentials that have been looked at, for any number of connections. */
export interface TlsContext {
  /**
   * From here on the connection speaks TLS, through the stream that is given back; the old one is
   * not to be used any more. Call it before the main loop's turn ends that brought the last plain
   * bytes. hostname (of a client): what the server's certificate must be made out to. Rejects with
   * a VmError, and the connection is closed.
   */
  start(stream: Stream, options: { hostname?: string; timeoutMs: number }): Promise<Stream>;
}

export interface Sockets {
  /**
   * setNoDelay and keepalive are on. Rejects with a VmError that names the address; bounded by
   * timeoutMs.
   */
  connect(address: Address, options: { timeoutMs: number }): Promise<Stream>;
  listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener>;
  /** VmError when the credentials are no good. The simulation has none. */
  tls?(role: 'client' | 'server', credentials: TlsCredentials): TlsContext;
  /**
   * What a browser opens over it, which it takes: bytes as binary messages, whose borders mean
   * nothing. VmError: it was none, and is closed. The simulation has none.
   */
  webSocket?(stream: Stream, options: WebSocketOptions): Promise<Stream>;
}

export interface WebSocketOptions {
  readonly timeoutMs: number;
  /** A page that another host's server has sent is refused. */
  readonly sameOrigin: boolean;
}

/**
 * A few bytes that belong to the medium behind an open file, not to a name of it: another name, a
 * link or a restart leads to the same ones.
 */
export interface Label {
  /** undefined: it has none. */
  read(): Promise<Uint8Array | undefined>;
  /**
   * Durable before it resolves; after a failure or a crash either the old or the new bytes are
   * there. undefined takes them away. VmError: there is no place that would last, and why.
   */
  write(bytes: Uint8Array | undefined): Promise<void>;
  /**
   * The path of a file for what is too long for a label: it belongs to the same medium, and to no
   * other. Missing, or a VmError: there is no place that would last.
   */
  companion?(kind: string): Promise<string>;
}

export interface OpenFile {
  readonly path: string;
  readonly readOnly: boolean;
  readonly label: Label;
  size(): Promise<number>;
  /**
   * When content or attributes changed for the last time, in microseconds since 1970, by the clock
   * of the file system; no program can set it back. Undefined, or missing: nothing tells.
   */
  changedUs?(): Promise<number | undefined>;
  /** Short reads only at end of file: returns bytes read. */
  pread(buffer: Uint8Array, offset: number): Promise<number>;
  /** All or error. */
  pwrite(buffer: Uint8Array, offset: number): Promise<void>;
  fdatasync(): Promise<void>;
  /** As open() does with lock 'auto': a VmError that names the file, if another process has it. */
  lock(): Promise<void>;
  /** Another process may have it. */
  unlock(): void;
  truncate(size: number): Promise<void>;
  /** Deallocates; reads of the range give zeroes afterwards. */
  punchHole(offset: number, length: number): Promise<void>;
  /**
   * Room on the disk for the range, which reads as before. Missing, or rejected, where the file
   * system cannot.
   */
  allocate?(offset: number, length: number): Promise<void> | undefined;
  /** punchHole does not have to write zeroes instead. Unknown where it is missing. */
  readonly punchesHoles?: boolean;
  /**
   * The next data at or after offset; undefined: from there on there is nothing but a hole. Where
   * it is missing nothing is known of holes.
   */
  dataAt?(offset: number): { start: number; end: number } | undefined;
  /**
   * Copies a range of another file in one go: units that are all zeroes are left out; packed: the
   * others then follow each other without gaps. Gives a flag for each unit, 1 = written. Undefined,
   * as where it is missing: that source must be read and written by hand.
   */
  copyFrom?(source: OpenFile, copy: UnitCopy): Promise<Uint8Array> | undefined;
  /**
   * The first byte that differs from the other file, or from zeroes, counted from the offsets; -1:
   * none. Undefined as for copyFrom.
   */
  differenceAt?(
    offset: number,
    length: number,
    other?: { file: OpenFile; offset: number },
  ): Promise<number> | undefined;
  close(): Promise<void>;
}

export interface UnitCopy {
  /** In the source; what is beyond its end reads as zeroes. */
  from: number;
  to: number;
  length: number;
  /** At most 2 MiB; the last one may be shorter. */
  unit: number;
  packed: boolean;
}

export interface Files {
  /**
   * Locks the file (shared when readOnly, else exclusive) unless lock is 'none'; a held lock is a
   * VmError that names the file.
   */
  /**
   * mode: of a file that is created; 0644 if absent. direct: past the page cache; a VmError where
   * the file system cannot.
   */
  open(
    path: string,
    options: {
      readOnly: boolean;
      lock: 'auto' | 'none';
      create?: boolean;
      mode?: number;
      direct?: boolean;
      noFollow?: boolean;
    },
  ): Promise<OpenFile>;
  readFile(path: string): Promise<Uint8Array>;
  unlink(path: string): Promise<void>;
  /** A new file for path, which stays what it is until keep(). mode: of the new one. */
  replace(path: string, mode: number): Promise<Replacement>;
}

export interface Replacement {
  readonly file: OpenFile;
  /** It is whole and durable: from now on it is what path names. */
  keep(): Promise<void>;
  /** Never rejects. */
  discard(): Promise<void>;
}

/**
 * A folder of small files that never change once they have a name, for hosts that share it. What is
 * read there is what its server has, as far as a network file system lets a client know.
 */
export interface RecordFolder {
  readonly path: string;
  /**
   * In no order. The folder must be there. changed: by this process just now, which costs nothing
   * more; what others have added meanwhile may not be durable then.
   */
  names(options?: { changed: boolean }): Promise<string[]>;
  /** undefined: there is none of this name. Of a longer one, one byte more than bytesMax. */
  read(name: string, bytesMax: number): Promise<Uint8Array | undefined>;
  /** Whole and durable under this name when it resolves. False: the name is taken. */
  add(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Not an error where there is none. */
  remove(name: string): Promise<void>;
}

export interface RecordFolders {
  open(path: string): RecordFolder;
}

/** JSON, posted to a server. */
export interface HttpQuestion {
  /** https: or http: */
  url: string;
  body: string;
  timeoutMs: number;
  /** Of an answer. */
  bytesMax: number;
  /** undefined: the system's authorities, and no certificate of ours. */
  credentials?: X509Credentials;
}

export interface HttpAnswer {
  status: number;
  body: string;
}

export interface Http {
  /** VmError: no whole answer within the bound. What was sent may have arrived all the same. */
  post(question: HttpQuestion): Promise<HttpAnswer>;
}

export interface Entropy {
  fill(bytes: Uint8Array): void;
}

/** A tap interface. */
export interface Tap extends Disposable {
  readonly ifname: string;
  /** Frame from the host's side (towards the guest). */
  onFrame(fn: (frame: Uint8Array) => void): void;
  /** False: the kernel's queue is full, the frame was not taken. */
  write(frame: Uint8Array): boolean;
  /** Back-pressure towards the kernel. */
  pause(): void;
  resume(): void;
}

export interface Taps {
  /** ifname may hold %d; undefined = tap%d. VmError when /dev/net/tun or the rights are missing. */
  open(ifname?: string): Tap;
}

/** The network that a guest sees behind `-netdev user`: IPv4 addresses as text. */
export interface UserNetConfig {
  ipv4: boolean;
  /** fec0::/64, the host at fec0::2. */
  ipv6: boolean;
  /** The guest reaches nothing but this network; forwards still lead to it. */
  restrict: boolean;
  net: string;
  mask: string;
  /** This host, as the guest sees it. */
  host: string;
  dns: string;
  /** The first of 16 addresses that DHCP gives out. */
  dhcpStart: string;
  /** That DHCP gives the guest. Empty: none. */
  hostname: string;
}

/** Who connects to a port of this host reaches one of the guest. */
export interface Forward {
  protocol: 'tcp' | 'udp';
  /** 0.0.0.0: every address of the host. */
  host: string;
  hostPort: number;
  guest: string;
  guestPort: number;
}

/**
 * A guest's network made of this process's own sockets. What the guest has connected lives in
 * here, and ends with it.
 */
export interface UserNet extends Disposable {
  /** Towards the guest. The frame is the listener's during the call only. */
  onFrame(fn: (frame: Uint8Array) => void): void;
  /** False: no room, the frame was not taken. */
  write(frame: Uint8Array): boolean;
  /** No frames until resume; meanwhile the world's senders wait, and no connection times out. */
  pause(): void;
  resume(): void;
  /** VmError: the host's port cannot be listened at. */
  listen(forward: Forward): void;
  /** Connections that came by it stay. */
  unlisten(forward: Omit<Forward, 'guest' | 'guestPort'>): void;
  /** A table for people. */
  connections(): string;
  /** Frames that were lost since it was opened. */
  readonly dropped: number;
}

export interface UserNets {
  /** VmError: this host has none, and what it lacks. */
  open(config: UserNetConfig): UserNet;
}

/** Commands of the host, as /bin/sh runs them. Their standard error is ours. */
export interface Shell {
  /**
   * to: what is written goes to its standard input. from: its standard output arrives. The end
   * comes with an error if it fails.
   */
  run(command: string, direction: 'to' | 'from'): Stream;
}

/** Programs of the host that run to their end, such as the scripts of a tap. */
export interface Programs {
  /** The file is there, and this process may run it. */
  executable(path: string): Promise<boolean>;
  /** Rejects with a VmError when it cannot run, fails, or has not ended in time. */
  run(path: string, args: readonly string[], timeoutMs: number): Promise<void>;
  /**
   * A command as /bin/sh runs it, with these words in its environment. Rejects with a VmError that
   * holds its last words; after timeoutMs all that it has started is killed.
   */
  command(
    text: string,
    environment: Readonly<Record<string, string>>,
    timeoutMs: number,
  ): Promise<void>;
}

/** What started this process as a service, and watches it: systemd, by sd_notify(3). */
export interface ServiceManager {
  /** Without a sign of life for so long it starts the service again; undefined: it does not. */
  readonly watchdogMs: number | undefined;
  /** `VARIABLE=value`, one a line. VmError: it was not taken. Never waits. */
  notify(lines: string): void;
}

export interface Host {
  readonly clock: Clock;
  readonly sockets: Sockets;
  readonly files: Files;
  readonly entropy: Entropy;
  readonly taps: Taps;
  /** The simulation has none. */
  readonly userNets?: UserNets;
  readonly shell: Shell;
  readonly programs: Programs;
  readonly folders: RecordFolders;
  readonly http: Http;
}
