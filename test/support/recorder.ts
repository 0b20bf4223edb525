/** A device on every port and address, which notes what the guest does. */
import type { ExitHandler } from '../../src/accel/contract.js';

/** Answers reads with `answer`. */
export class Recorder implements ExitHandler {
  readonly seen: string[] = [];
  answer = 0x5a;
  onAccess: (what: string) => void = () => undefined;

  pioRead(port: number, size: number): number {
    this.note(`in ${port.toString(16)}/${size}`);
    return this.answer;
  }
  pioWrite(port: number, size: number, value: number): void {
    this.note(`out ${port.toString(16)}/${size} ${value.toString(16)}`);
  }
  mmioRead(gpa: number, size: number): bigint {
    this.note(`load ${gpa.toString(16)}/${size}`);
    return BigInt(this.answer);
  }
  mmioWrite(gpa: number, size: number, value: bigint): void {
    this.note(`store ${gpa.toString(16)}/${size} ${value.toString(16)}`);
  }
  /** Resolves at the access that reads like this. */
  wait(what: string): Promise<void> {
    return new Promise(resolve => (this.onAccess = seen => seen === what && resolve()));
  }
  private note(what: string): void {
    this.seen.push(what);
    this.onAccess(what);
  }
}
