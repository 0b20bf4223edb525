/**
 * One QMP connection, without I/O: bytes in, lines out. Commands are answered one by one, in order;
 * those that may go out of band (capability oob, exec-oob) are answered at once, whatever an
 * earlier one waits for.
 */
import { asVmError, AssertionError, VmError } from '../../base/errors.js';
import { versionInfo } from '../dialect.js';
import type { CommandContext } from '../schema.js';
import { isObject } from '../../words/types.js';
import type { Vm } from '../../vm/vm.js';
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
const CONGESTION_BYTES = 64 << 10;

/**
 * With oob: commands in band that wait for their turn. At the limit nothing more is read, out of
 * band neither (as in QEMU).
 */
const MAX_QUEUED = 8;

interface Request {
  readonly execute: string;
  readonly arguments: Record<string, unknown>;
  readonly outOfBand: boolean;
}

export class QmpSession {
  private readonly framer = new JsonFramer();
  private negotiating = true;
  private pumping = false;
  private inputEnded = false;
  private closed = false;
  private isCongested = false;
  private oob = false;
  private queued = 0;
  private inBand: Promise<void> = Promise.resolve();
  private madeRoom: () => void = () => undefined;

  constructor(
    private readonly vm: Vm,
    private readonly context: CommandContext,
    private readonly port: SessionPort,
  ) {}

  greet(): void {
    this.send({
      QMP: { version: versionInfo(this.vm.host.process.version), capabilities: ['oob'] },
    });
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
    const timestamp = {
      seconds: Math.floor(ms / 1000),
      microseconds: Math.floor((ms % 1000) * 1000),
    };
    this.send({ timestamp, event: name, ...(Object.keys(data).length > 0 ? { data } : {}) });
  }

  private async pump(): Promise<void> {
    if (this.pumping || this.closed) {
      this.setCongested(this.framer.unread > CONGESTION_BYTES);
      return;
    }
    this.pumping = true;
    for (let frame = this.nextFrame(); frame !== undefined; frame = this.nextFrame()) {
      const answer = this.prepare(frame);
      if (answer.outOfBand) void answer.give();
      else await this.enqueue(answer.give);
    }
    this.pumping = false;
    this.setCongested(false);
    if (!this.inputEnded) return;
    await this.inBand;
    if (!this.closed) this.port.finished();
  }

  /** Resolves when the next command may be read. */
  private async enqueue(give: () => Promise<void>): Promise<void> {
    this.queued++;
    const turn = this.inBand.then(async () => {
      if (!this.closed) await give();
      await this.port.drained();
      this.queued--;
      this.madeRoom();
    });
    this.inBand = turn;
    if (!this.oob) return turn;
    while (this.queued >= MAX_QUEUED) await new Promise<void>(resolve => (this.madeRoom = resolve));
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

  /** What a frame asks for, and the way to answer it. */
  private prepare(frame: Frame): { outOfBand: boolean; give: () => Promise<void> } {
    let id: unknown;
    const refuse = (error: unknown) => {
      if (error instanceof AssertionError) throw error;
      const failure = asVmError(error);
      this.send({ id, error: { class: failure.class, desc: describe(failure) } });
    };
    try {
      if ('error' in frame) throw new VmError(frame.error);
      const message: unknown = parseJson(frame.text);
      if (!isObject(message)) throw new VmError('QMP input must be a JSON object');
      id = message['id'];
      const request = asRequest(message, this.oob);
      const give = () =>
        this.execute(request)
          .then(result => this.send({ return: result, id }))
          .catch(refuse);
      return { outOfBand: request.outOfBand, give };
    } catch (error) {
      return { outOfBand: false, give: async () => refuse(error) };
    }
  }

  private async execute(request: Request): Promise<unknown> {
    const negotiation = request.execute === 'qmp_capabilities';
    if (this.negotiating && !negotiation)
      throw new VmError("Expecting capabilities negotiation with 'qmp_capabilities'", {
        class: 'CommandNotFound',
      });
    if (!this.negotiating && negotiation)
      throw new VmError('Capabilities negotiation is already complete, command ignored', {
        class: 'CommandNotFound',
      });
    const command = this.context.registry.qmp(request.execute);
    if (request.outOfBand && !command.oob)
      throw new VmError(`The command ${command.name} does not support OOB`);
    const result = await command.runQmp(this.vm, request.arguments, this.context);
    if (!negotiation) return result;
    this.negotiating = false;
    const { enable } = request.arguments;
    this.oob = Array.isArray(enable) && enable.includes('oob');
    return result;
  }

  private send(message: object): void {
    if (!this.closed) this.port.send(`${printJson(message)}\r\n`);
  }
}

function asRequest(message: Record<string, unknown>, oob: boolean): Request {
  const { arguments: given } = message;
  const outOfBand = oob && Object.hasOwn(message, 'exec-oob');
  const verb = outOfBand ? 'exec-oob' : 'execute';
  for (const member of Object.keys(message)) {
    if (![verb, 'arguments', 'id'].includes(member))
      throw new VmError(`QMP input member '${member}' is unexpected`);
  }
  const execute = message[verb];
  if (execute === undefined) throw new VmError("QMP input lacks member 'execute'");
  if (typeof execute !== 'string') throw new VmError(`QMP input member '${verb}' must be a string`);
  if (given !== undefined && !isObject(given))
    throw new VmError("QMP input member 'arguments' must be an object");
  return { execute, arguments: given ?? {}, outOfBand };
}

/** A QMP client sees one string: the hint belongs to it. */
function describe(error: VmError): string {
  return error.options.hint === undefined
    ? error.message
    : `${error.message}. ${error.options.hint}`;
}
