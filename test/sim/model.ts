/**
 * What a disk must hold, by what the guest was told: for each sector the write that it has heard of
 * last. A request that is under way or has failed leaves its sectors unknown until the next one.
 */
export const sectorBytes = 512;
export const sectors = 384;
export const diskBytes = sectors * sectorBytes;
const wordsPerSector = sectorBytes / 4;
const UNKNOWN = -1;

/** Every sector says whose it is and where it belongs. */
export function writeSectors(id: number, sector: number, count: number): Uint8Array {
  const words = new Uint32Array(count * wordsPerSector).fill(id);
  for (let n = 0; n < count; n++) words[n * wordsPerSector + 1] = sector + n;
  return new Uint8Array(words.buffer);
}

export class DiskModel {
  private ids = new Int32Array(sectors);
  /** 1: asked for since the last flush that the guest has heard of. */
  private unsynced = new Uint8Array(sectors);

  copy(): DiskModel {
    const copy = new DiskModel();
    copy.ids = this.ids.slice();
    copy.unsynced = this.unsynced.slice();
    return copy;
  }

  /** This machine is now what the other one was. */
  become(other: DiskModel): void {
    this.ids = other.ids.slice();
    this.unsynced = other.unsynced.slice();
  }

  unknown(sector: number, count: number): void {
    this.ids.fill(UNKNOWN, sector, sector + count);
    this.unsynced.fill(1, sector, sector + count);
  }

  wrote(sector: number, count: number, id: number): void {
    this.ids.fill(id, sector, sector + count);
  }

  flushed(): void {
    this.unsynced.fill(0);
  }

  /**
   * The power was lost: only what was flushed is sure. Of a write and a discard after it the first
   * alone may have reached the platter, though the sector is to hold what it held before both.
   */
  powerLoss(): void {
    for (let s = 0; s < sectors; s++) if (this.unsynced[s]) this.ids[s] = UNKNOWN;
  }

  /** A sentence about the first sector that is not as it must be. */
  differs(data: Uint8Array, sector = 0, count = sectors): string | undefined {
    const words = new Uint32Array(data.buffer, data.byteOffset, (count * sectorBytes) / 4);
    for (let n = 0; n < count; n++) {
      const id = this.ids[sector + n];
      if (id !== UNKNOWN && !holds(words, n * wordsPerSector, id, sector + n)) {
        return `sector ${sector + n} as of write ${words[n * wordsPerSector]} where ${id} must be`;
      }
    }
    return undefined;
  }
}

function holds(words: Uint32Array, at: number, id: number, sector: number): boolean {
  for (let i = 0; i < wordsPerSector; i++) {
    if (words[at + i] !== (i === 1 && id !== 0 ? sector : id)) return false;
  }
  return true;
}
