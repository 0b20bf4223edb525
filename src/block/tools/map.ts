/** Which image of a chain holds what, and where: as `qemu-img map` tells it. */
import { VmError } from '../../base/errors.js';
import { inRole } from '../contract/roles.js';
import { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { backingNode } from '../graph/chain.js';
import { type BlockNode, protocolOf } from '../contract/node.js';

/** QEMU's words and order. */
export interface MapEntry {
  start: number;
  length: number;
  /** The number of images above the one that holds the range. */
  depth: number;
  /** That image says something of it: data, or zeroes. */
  present: boolean;
  zero: boolean;
  data: boolean;
  /** In the file of that image; missing for what does not stand there as it is. */
  offset?: number;
}
export type FoundEntry = MapEntry & { file: string };

/** Neighbours that go on alike are one. */
export async function* mapImage(
  image: BlockNode,
  start: number,
  end: number,
): AsyncGenerator<FoundEntry> {
  let last: FoundEntry | undefined;
  for (let at = start; at < end;) {
    const next = await entryAt(image, at, end - at);
    if (last && goesOn(last, next)) last.length += next.length;
    else {
      if (last) yield last;
      last = next;
    }
    at += next.length;
  }
  if (last) yield last;
}

function goesOn(a: FoundEntry, b: FoundEntry): boolean {
  if (
    a.depth !== b.depth ||
    a.present !== b.present ||
    a.zero !== b.zero ||
    a.data !== b.data ||
    a.file !== b.file
  )
    return false;
  return a.offset === undefined ? b.offset === undefined : a.offset + a.length === b.offset;
}

async function entryAt(image: BlockNode, start: number, length: number): Promise<FoundEntry> {
  let alike = length;
  for (let node = image, depth = 0; ; depth++) {
    const found = await statusOf(node, start, alike);
    alike = found.length;
    const below = backingNode(node);
    if (found.present || !below || start >= below.length)
      return { start, depth, file: fileOf(node), ...found, zero: found.zero || !found.present };
    alike = Math.min(alike, below.length - start);
    node = below;
  }
}

/** In this image alone. */
async function statusOf(
  node: BlockNode,
  start: number,
  length: number,
): Promise<Pick<FoundEntry, 'length' | 'present' | 'zero' | 'data' | 'offset'>> {
  if (node.driver instanceof Qcow2Driver) {
    const { kind, host, length: alike } = await node.driver.mappingAt(start, length);
    return {
      length: alike,
      present: kind !== 'unallocated',
      zero: kind === 'zero',
      data: kind === 'data' || kind === 'compressed',
      ...(host !== undefined && { offset: host }),
    };
  }
  const { zero, length: alike, place } = await node.blockStatus(start, length);
  return {
    length: alike,
    present: true,
    zero,
    data: !zero,
    ...(place && { offset: place.offset }),
  };
}

function fileOf(node: BlockNode): string {
  return inRole('file', protocolOf(node))?.path ?? node.name;
}

/** A table for people: only what can be read from a file as it is. */
export async function* mapLines(entries: AsyncIterable<FoundEntry>): AsyncGenerator<string> {
  const hex = (n: number) => (n === 0 ? '0' : `0x${n.toString(16)}`).padEnd(16);
  yield `${'Offset'.padEnd(16)}${'Length'.padEnd(16)}${'Mapped to'.padEnd(16)}File`;
  for await (const { start, length, data, zero, offset, file } of entries) {
    if (data && offset === undefined)
      throw new VmError('File contains external, encrypted or compressed clusters.', {
        hint: '--output=json tells of them.',
      });
    if (data && !zero) yield `${hex(start)}${hex(length)}${hex(offset!)}${file}`;
  }
}

/** One entry a line, and the whole is JSON. */
export async function* mapJson(entries: AsyncIterable<FoundEntry>): AsyncGenerator<string> {
  const text = ({ start, length, depth, present, zero, data, offset }: FoundEntry) =>
    `{ "start": ${start}, "length": ${length}, "depth": ${depth}, "present": ${present}, ` +
    `"zero": ${zero}, "data": ${data}${offset === undefined ? '' : `, "offset": ${offset}`}}`;
  let before: string | undefined;
  for await (const entry of entries) {
    if (before !== undefined) yield `${before},`;
    before = `${before === undefined ? '[' : ''}${text(entry)}`;
  }
  yield `${before ?? '['}]`;
}
