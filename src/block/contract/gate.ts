/**
 * Who is inside, and a way to have nobody inside for a moment: requests count themselves in and
 * out; while it is shut those that come wait, and may be sent elsewhere when it opens.
 */
export class Gate<Elsewhere> {
  private inside = 0;
  private shut?: Promise<Elsewhere | undefined>;
  private empty?: () => void;
  private elsewhere?: Elsewhere;

  /**
   * Undefined: the caller is in. Otherwise it waits; told another place it goes there, else it asks
   * again.
   */
  enter(): Promise<Elsewhere | undefined> | undefined {
    if (this.shut) return this.shut;
    this.inside++;
    return undefined;
  }

  leave(): void {
    if (--this.inside === 0) this.empty?.();
  }

  /** Only while it is shut: those that wait go there. */
  send(elsewhere: Elsewhere): void {
    this.elsewhere = elsewhere;
  }

  /**
   * Runs body with nobody inside. late: rejects when those inside take too long; then nothing has
   * happened.
   */
  async whileEmpty<T>(late: Promise<never>, body: () => Promise<T>): Promise<T> {
    while (this.shut) await Promise.race([this.shut, late]);
    let open: (to: Elsewhere | undefined) => void = () => undefined;
    this.shut = new Promise(resolve => (open = resolve));
    this.elsewhere = undefined;
    try {
      if (this.inside > 0)
        await Promise.race([new Promise<void>(resolve => (this.empty = resolve)), late]);
      return await body();
    } finally {
      this.empty = undefined;
      this.shut = undefined;
      open(this.elsewhere);
    }
  }
}
