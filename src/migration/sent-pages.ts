/**
 * What the other side holds of pages that were sent to it, as far as there is room: what changes
 * next is sent as a difference from that. A page has four places where it can be; one that was not
 * sent for two epochs gives its place up, so pages that come again in each stay, also where all of
 * them are more than there is room for. The content counts as long as the other side has loaded
 * every epoch: of one that it has not, some pages are newer here, and all is forgotten.
 */
import { mutant } from '../base/mutant.js';
import { CHUNK_PAGES_MAX, PAGE_BYTES } from './pages.js';
import { isDelta, ZEROES_TAG } from './page-tags.js';

const WAYS = 4;
const NO_PAGE = 0xffff_ffff;
/** A page of which nothing was the same is sent so often without a look at it. */
const BARREN = 8;

export class SentPages {
  /** Content, by place. */
  store: Uint8Array = new Uint8Array(0);
  /** Since the last begin(): pages of which the former content was here. */
  hits = 0;
  private owners = new Uint32Array(0);
  private usedAt = new Uint32Array(0);
  /** Above 0: the content there is old, and counts for nothing. */
  private barren = new Uint8Array(0);
  private now = 0;
  private loaded = true;
  private readonly bases = new Int32Array(CHUNK_PAGES_MAX);
  private readonly keeps = new Int32Array(CHUNK_PAGES_MAX);

  constructor(private readonly pageCount: number) {}

  /** An epoch. bytes: room for content; another one than before has nothing in it. */
  begin(bytes: number): void {
    const places =
      Math.min(Math.floor(bytes / PAGE_BYTES / WAYS), Math.ceil(this.pageCount / WAYS)) * WAYS;
    if (places !== this.owners.length) this.resize(places);
    else if (!this.loaded && !mutant('sent-pages-kept')) this.owners.fill(NO_PAGE);
    this.loaded = false;
    this.now++;
    this.hits = 0;
  }

  /** The other side has loaded it. */
  settle(): void {
    this.loaded = true;
  }

  /** Where the former content of each page is, and where the new one is to be; -1: nowhere. */
  place(pages: Uint32Array): { bases: Int32Array; keeps: Int32Array } {
    const { bases, keeps, barren } = this;
    for (let i = 0; i < pages.length; i++) {
      const at = this.placeOf(pages[i]);
      const known = at >= 0 && this.owners[at] === pages[i];
      bases[i] = known && barren[at] === 0 ? at : -1;
      if (known && barren[at] > 0) barren[at]--;
      keeps[i] = at >= 0 && (!known || barren[at] === 0) ? at : -1;
      if (at < 0) continue;
      if (!known) barren[at] = 0;
      this.owners[at] = pages[i];
      this.usedAt[at] = this.now;
    }
    return { bases: bases.subarray(0, pages.length), keeps: keeps.subarray(0, pages.length) };
  }

  /** As they went, right after they were placed. */
  note(pages: Uint32Array, tags: Uint16Array): void {
    const { bases, keeps } = this;
    for (let i = 0; i < pages.length; i++) {
      if (bases[i] >= 0) this.hits++;
      if (tags[i] === ZEROES_TAG) this.drop(pages[i]);
      else if (bases[i] >= 0 && !isDelta(tags[i])) this.barren[keeps[i]] = BARREN;
    }
  }

  /** Its own place, else the one of the four that is free or was used longest ago; -1: none. */
  private placeOf(page: number): number {
    const { owners } = this;
    const sets = owners.length / WAYS;
    if (sets === 0) return -1;
    const first = (page % sets) * WAYS;
    let best = -1;
    let bestAge = 1;
    for (let at = first; at < first + WAYS; at++) {
      if (owners[at] === page) return at;
      const age = owners[at] === NO_PAGE ? Infinity : this.now - this.usedAt[at];
      if (age <= bestAge) continue;
      best = at;
      bestAge = age;
    }
    return best;
  }

  private drop(page: number): void {
    const at = this.placeOf(page);
    if (at >= 0 && this.owners[at] === page) this.owners[at] = NO_PAGE;
  }

  private resize(places: number): void {
    this.store = roomFor(places);
    const had = this.store.length / PAGE_BYTES;
    this.owners = new Uint32Array(had).fill(NO_PAGE);
    this.usedAt = new Uint32Array(had);
    this.barren = new Uint8Array(had);
  }
}

/** It takes memory as it is filled. Where this host has none, pages are sent without. */
function roomFor(places: number): Uint8Array {
  try {
    return new Uint8Array(places * PAGE_BYTES);
  } catch {
    return new Uint8Array(0);
  }
}
