/** Frames of the addon, which are read while somebody listens to them and takes them. */
export abstract class FrameSource {
  protected abstract readonly native: { setReading(on: boolean): void };
  protected listener: ((frame: Uint8Array) => void) | undefined;
  protected paused = false;

  onFrame(fn: (frame: Uint8Array) => void): void {
    this.listener = fn;
    this.read();
  }

  pause(): void {
    this.paused = true;
    this.read();
  }

  resume(): void {
    this.paused = false;
    this.read();
  }

  private read(): void {
    this.native.setReading(this.listener !== undefined && !this.paused);
  }
}
