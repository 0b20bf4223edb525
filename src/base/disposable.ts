/** Owners dispose; disposing twice is harmless. */
export interface Disposable {
  dispose(): void;
}

/** Collects what one owner must dispose, in reverse order of acquisition. */
export class Disposables implements Disposable {
  private readonly items: Disposable[] = [];
  private done = false;

  add<T extends Disposable>(item: T): T {
    if (this.done) item.dispose();
    else this.items.push(item);
    return item;
  }

  defer(fn: () => void): void {
    this.add({ dispose: fn });
  }

  dispose(): void {
    if (this.done) return;
    this.done = true;
    for (const item of this.items.reverse()) item.dispose();
    this.items.length = 0;
  }
}
