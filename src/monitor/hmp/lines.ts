/**
 * HMP for a peer that is not a terminal, without I/O: bytes in, prompt and text out. Lines run one
 * by one, in order.
 */
export interface LinePort {
  send(text: string): void;
  drained(): Promise<void>;
  congested(on: boolean): void;
  /** The peer sends nothing more, and all its lines were run. */
  finished(): void;
  run(line: string): Promise<string>;
}

/** At a terminal. */
export const PROMPT = '(colo) ';
/** Where no person sits: programs that talk to monitors wait for these letters. */
export const PROGRAM_PROMPT = '(qemu) ';
export const MAX_LINE_BYTES = 4096;
const CONGESTION_BYTES = 64 << 10;
const NEWLINE = 0x0a;

export class LineMonitor {
  private input: Buffer = Buffer.alloc(0);
  private tooLong = false;
  private pumping = false;
  private ended = false;
  private closed = false;

  constructor(
    private readonly port: LinePort,
    private readonly banner: string,
    private readonly prompt: string,
  ) {}

  greet(): void {
    this.port.send(`${this.banner}\n${this.prompt}`);
  }

  push(bytes: Uint8Array): void {
    this.input = Buffer.concat([this.input, bytes]);
    void this.pump();
  }

  endInput(): void {
    this.ended = true;
    void this.pump();
  }

  close(): void {
    this.closed = true;
  }

  private async pump(): Promise<void> {
    if (this.pumping) {
      if (this.input.length > CONGESTION_BYTES) this.port.congested(true);
      return;
    }
    this.pumping = true;
    for (let line = this.nextLine(); line !== undefined && !this.closed; line = this.nextLine())
      await this.execute(line);
    this.pumping = false;
    if (this.closed) return;
    this.port.congested(false);
    if (this.ended) this.port.finished();
  }

  private async execute(line: string): Promise<void> {
    const output = await this.port.run(line);
    if (this.closed) return;
    this.port.send(output + this.prompt);
    await this.port.drained();
  }

  /** Without its end; a last line may lack one. A line that is too long is dropped whole. */
  private nextLine(): string | undefined {
    for (;;) {
      const at = this.input.indexOf(NEWLINE);
      const end = at >= 0 ? at : this.ended && this.input.length > 0 ? this.input.length : -1;
      if (end < 0) {
        if (this.input.length > MAX_LINE_BYTES) this.dropPart();
        return undefined;
      }
      const text = this.input.subarray(0, end);
      this.input = this.input.subarray(end + 1);
      const overlong = this.tooLong || text.length > MAX_LINE_BYTES;
      this.tooLong = false;
      if (!overlong) return text.toString('utf8').replace(/\r$/, '');
      this.port.send(`Error: a line has at most ${MAX_LINE_BYTES} bytes\n${this.prompt}`);
    }
  }

  private dropPart(): void {
    this.tooLong = true;
    this.input = Buffer.alloc(0);
  }
}
