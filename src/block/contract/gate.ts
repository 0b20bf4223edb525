/**
 * Counts requests in and out, and can be shut until none is inside. While it is shut, new requests
 * wait; when it opens they may be sent to another node.
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
   * Runs body while no request is inside. late: rejects when the requests inside take too long;
   * then body has not run.
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
