/** Who is inside, and a way to have nobody inside for a moment: requests count themselves in and out; while it is shut those that come wait. */
export class Gate {
  private inside = 0;
  private shut?: Promise<void>;
  private empty?: () => void;

  /** Undefined: the caller is in. Otherwise it waits and asks again. */
  enter(): Promise<void> | undefined {
    if (this.shut) return this.shut;
    this.inside++;
    return undefined;
  }

  leave(): void {
    if (--this.inside === 0) this.empty?.();
  }

  /** Runs body with nobody inside. late: rejects when those inside take too long; then nothing has happened. */
  async whileEmpty<T>(late: Promise<never>, body: () => Promise<T>): Promise<T> {
    while (this.shut) await Promise.race([this.shut, late]);
    let open: () => void = () => undefined;
    this.shut = new Promise(resolve => (open = resolve));
    try {
      if (this.inside > 0) await Promise.race([new Promise<void>(resolve => (this.empty = resolve)), late]);
      return await body();
    } finally {
      this.empty = undefined;
      this.shut = undefined;
      open();
    }
  }
}
