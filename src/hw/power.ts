/**
 * What chips ask of the machine around them. The machine does it after the access, never inside it.
 */
export interface PowerControl {
  /** A reset line was pulled; why says by what. */
  reset(why: string): void;
  /** The guest switched the power off (S5). */
  powerOff(): void;
}
