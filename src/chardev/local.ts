/**
 * What a channel without an other side has in common: always connected, never says anything, never
 * full.
 */
import type { CharBackend, CharEvent } from './contract.js';

export abstract class LocalChar implements CharBackend {
  abstract readonly label: string;
  readonly connected = true;
  readonly terminal = undefined;

  constructor(readonly id: string) {}

  /** True: there is room for more. */
  abstract write(bytes: Uint8Array): boolean;

  onEvent(fn: (event: CharEvent) => void): void {
    fn('opened');
  }

  onRoom(): void {}
  onData(): void {}
  onInputEnd(): void {}
  pause(): void {}
  resume(): void {}
  hangUp(): void {}
  release(): void {}
  dispose(): void {}
}
