/** How a page is packed: its tag on the wire (packed-pages.ts). */
export const ZEROES_TAG = 0;
/** 1 to this: so many bytes of what changed. */
export const DELTA_BYTES_MAX = 3072;
export const PACKED_TAG = 0xfffe;
export const WHOLE_TAG = 0xffff;

export const isDelta = (tag: number): boolean => tag > ZEROES_TAG && tag <= DELTA_BYTES_MAX;
export const isTag = (tag: number): boolean => tag <= DELTA_BYTES_MAX || tag >= PACKED_TAG;
