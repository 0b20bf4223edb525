/** One QMP connection, without I/O: bytes in, lines out. Commands are answered one by one, in order. */
import { asVmError, AssertionError, VmError } from '../../base/errors.js';
import type { CommandContext } from '../schema.js';
import { isObject } from '../types.js';
import type { VmControl } from '../vm.js';
import type { Frame } from './framer.js';
import { JsonFramer } from './framer.js';
import { parseJson, printJson } from './json.js';

export interface SessionPort {
  /** One message, line end included. */
  send(line: string): void;
  /** Resolves when the client has taken what was sent: until then no further command is begun. */
  drained(): Promise<void>;
  /** A pile of unread input begins or ends: the channel should pause or resume. */
  congested(on: boolean): void;
  /** The client said that it sends nothing more, and all its commands are answered. */
  finished(): void;
  wallMs(): number;
}

/** Unread input that makes the channel pause; one whole command may be larger. */
const congestionBytes = 64 << 10;

interface Request {
  readonly execute: string;
  readonly arguments: Record<string, unknown>;
}

export class QmpSession {
  private readonly framer = new JsonFramer();
  private negotiating = true;
  private pumping = false;
  private inputEnded = false;
  private closed = false;
  private isCongested = false;

  constructor(
    private readonly vm: VmControl,
    private readonly context: CommandContext,
    private readonly port: SessionPort,
  ) {}

  greet(): void {
    const { major, minor, micro, package: name } = this.vm.version;
    this.send({ QMP: { version: { qemu: { micro, minor, major }, package: name }, capabilities: [] } });
  }

  push(bytes: Uint8Array): void {
    this.framer.push(bytes);
    void this.pump();
  }

  /** Half-close: what has arrived is still answered. */
  endInput(): void {
    this.inputEnded = true;
    void this.pump();
  }

  /** The connection is gone; a command that runs finishes without an answer. */
  close(): void {
    this.closed = true;
  }

  event(name: string, data: object): void {
    if (this.negotiating) return;
    const ms = this.port.wallMs();
    const timestamp = { seconds: Math.floor(ms / 1000), microseconds: Math.floor((ms % 1000) * 1000) };
    this.send({ timestamp, event: name, ...(Object.keys(data).length > 0 ? { data } : {}) });
  }

  private async pump(): Promise<void> {
    if (this.pumping || this.closed) {
      this.setCongested(this.framer.unread > congestionBytes);
      return;
    }
    this.pumping = true;
    for (let frame = this.nextFrame(); frame !== undefined; frame = this.nextFrame()) {
      await this.handle(frame);
      await this.port.drained();
    }
    this.pumping = false;
    this.setCongested(false);
    if (this.inputEnded && !this.closed) this.port.finished();
  }

  private nextFrame(): Frame | undefined {
    if (this.closed) return undefined;
    return this.framer.next() ?? (this.inputEnded ? this.framer.finish() : undefined);
  }

  private setCongested(on: boolean): void {
    if (on === this.isCongested || this.closed) return;
    this.isCongested = on;
    this.port.congested(on);
  }

  private async handle(frame: Frame): Promise<void> {
    let id: unknown;
    try {
      if ('error' in frame) throw new VmError(frame.error);
      const message: unknown = parseJson(frame.text);
      if (!isObject(message)) throw new VmError('QMP input must be a JSON object');
      id = message['id'];
      const result = await this.execute(asRequest(message));
      this.send({ return: result, id });
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      const failure = asVmError(error);
      this.send({ id, error: { class: failure.class, desc: describe(failure) } });
    }
  }

  private async execute(request: Request): Promise<unknown> {
    const negotiation = request.execute === 'qmp_capabilities';
    if (this.negotiating && !negotiation) throw new VmError("Expecting capabilities negotiation with 'qmp_capabilities'", { class: 'CommandNotFound' });
    if (!this.negotiating && negotiation) throw new VmError('Capabilities negotiation is already complete, command ignored', { class: 'CommandNotFound' });
    const result = await this.context.registry.qmp(request.execute).runQmp(this.vm, request.arguments, this.context);
    if (negotiation) this.negotiating = false;
    return result;
  }

  private send(message: object): void {
    if (!this.closed) this.port.send(`${printJson(message)}\r\n`);
  }
}

function asRequest(message: Record<string, unknown>): Request {
  const { execute, arguments: given } = message;
  for (const member of Object.keys(message)) {
    if (!['execute', 'arguments', 'id'].includes(member)) throw new VmError(`QMP input member '${member}' is unexpected`);
  }
  if (execute === undefined) throw new VmError("QMP input lacks member 'execute'");
  if (typeof execute !== 'string') throw new VmError("QMP input member 'execute' must be a string");
  if (given !== undefined && !isObject(given)) throw new VmError("QMP input member 'arguments' must be an object");
  return { execute, arguments: given ?? {} };
}

/** A QMP client sees one string: the hint belongs to it. */
function describe(error: VmError): string {
  return error.options.hint === undefined ? error.message : `${error.message}. ${error.options.hint}`;
}
