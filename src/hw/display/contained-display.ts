/** The screen of a card that may break: then it shows what was there last. */
import type { Contained } from '../contain.js';
import {
  BLANK_SCREEN,
  type DisplaySource,
  newSurface,
  type Painter,
  type Rect,
  type Surface,
} from './surface.js';

/** No picture of a whole card has this key: the next one is drawn all over. */
const BROKEN = 'broken';

export class ContainedDisplay implements DisplaySource {
  constructor(
    private readonly device: Contained,
    private readonly inner: DisplaySource,
  ) {}

  paint(painter: Painter): { surface: Surface; changed: readonly Rect[] } {
    if (this.device.silent) return lastPicture(painter);
    try {
      return this.inner.paint(painter);
    } catch (error) {
      this.device.broke(error);
      return lastPicture(painter);
    }
  }
}

/** Told of once as changed all over: it may have been half drawn, in a new size perhaps. */
function lastPicture(painter: Painter): { surface: Surface; changed: readonly Rect[] } {
  const told = painter.key === BROKEN;
  painter.key = BROKEN;
  painter.rows = [];
  if (painter.surface.width === 0)
    painter.surface = newSurface(BLANK_SCREEN.width, BLANK_SCREEN.height);
  const { surface } = painter;
  const { width, height } = surface;
  return { surface, changed: told ? [] : [{ x: 0, y: 0, width, height }] };
}
