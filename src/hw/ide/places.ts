/** Where IDE devices can be: a master and a slave on each channel, counted through. */

/** Of both channels: the ports of old. */
export const IDE_CHANNELS = [
  { command: 0x1f0, control: 0x3f6, irq: 14 },
  { command: 0x170, control: 0x376, irq: 15 },
] as const;
const UNITS = 2;

export interface IdePosition {
  readonly bus: number;
  readonly unit: number;
}

export const IDE_PLACES: readonly number[] = Array.from(
  { length: IDE_CHANNELS.length * UNITS },
  (_, place) => place,
);

export const idePlaceOf = ({ bus, unit }: IdePosition): number => bus * UNITS + unit;

export const idePositionOf = (place: number): IdePosition => ({
  bus: Math.floor(place / UNITS),
  unit: place % UNITS,
});
