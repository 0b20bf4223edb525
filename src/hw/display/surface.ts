/** A picture as the host sees it, and the parts of one that have changed. */

/** pixels: row by row, 0x00RRGGBB each. */
export interface Surface {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint32Array;
}

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A card: what is on its screen. */
export interface DisplaySource {
  /**
   * The picture now, drawn over what it was at the last call of whoever holds `painter`: changed
   * says where. A surface of another size is a new object, changed all over.
   */
  paint(painter: Painter): { readonly surface: Surface; readonly changed: readonly Rect[] };
}

/** What a painter keeps between two pictures: the card finds by it what has changed. */
export interface Painter {
  surface: Surface;
  /** Of the mode, the palette and the font: another one means that everything is drawn. */
  key: string;
  /** The bytes that each row was drawn from. */
  rows: Uint8Array[];
}

/** What a screen without a mode is: nothing is shown, and viewers need a size. */
export const BLANK_SCREEN = { width: 640, height: 480 } as const;

export const newSurface = (width: number, height: number): Surface => ({
  width,
  height,
  pixels: new Uint32Array(width * height),
});

export const newPainter = (): Painter => ({ surface: newSurface(0, 0), key: '', rows: [] });

/** Rows that follow each other become one rectangle, as wide as the widest of them. */
export class RowsChanged {
  readonly rects: Rect[] = [];

  /** Pixels [from, to) of `height` rows from y; called with y ascending. */
  add(y: number, height: number, from: number, to: number): void {
    const last = this.rects.at(-1);
    if (last === undefined || last.y + last.height !== y) {
      this.rects.push({ x: from, y, width: to - from, height });
      return;
    }
    const right = Math.max(last.x + last.width, to);
    last.x = Math.min(last.x, from);
    last.width = right - last.x;
    last.height += height;
  }
}
