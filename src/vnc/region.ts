/** What a viewer has not seen yet: a few rectangles, and when they get too many, what holds all. */
import type { Rect } from '../hw/display/surface.js';

const RECTS_MAX = 32;

export const intersection = (a: Rect, b: Rect): Rect | undefined => {
  const x = Math.max(a.x, b.x);
  const y = Math.max(a.y, b.y);
  const width = Math.min(a.x + a.width, b.x + b.width) - x;
  const height = Math.min(a.y + a.height, b.y + b.height) - y;
  return width > 0 && height > 0 ? { x, y, width, height } : undefined;
};

const around = (a: Rect, b: Rect): Rect => {
  const x = Math.min(a.x, b.x);
  const y = Math.min(a.y, b.y);
  return {
    x,
    y,
    width: Math.max(a.x + a.width, b.x + b.width) - x,
    height: Math.max(a.y + a.height, b.y + b.height) - y,
  };
};

export class Region {
  private rects: Rect[] = [];

  get empty(): boolean {
    return this.rects.length === 0;
  }

  /** Those that overlap become one, so that nothing is sent twice. */
  add(rect: Rect): void {
    let whole = rect;
    for (;;) {
      const meets = this.rects.filter(r => intersection(r, whole));
      if (meets.length === 0) break;
      this.rects = this.rects.filter(r => !meets.includes(r));
      whole = meets.reduce(around, whole);
    }
    this.rects.push(whole);
    if (this.rects.length > RECTS_MAX) this.rects = [this.rects.reduce(around)];
  }

  /** What lies in the frame; the rest is forgotten. */
  take(frame: Rect): Rect[] {
    const taken = this.rects.flatMap(r => intersection(r, frame) ?? []);
    this.rects = [];
    return taken;
  }
}
