/** The channel to nowhere: takes everything, says nothing. */
import type { CharBackend, CharEvent } from './contract.js';

export class NullChar implements CharBackend {
  readonly label = 'null';
  readonly connected = true;
  readonly terminal = undefined;

  constructor(readonly id: string) {}

  write(): boolean {
    return true;
  }

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
