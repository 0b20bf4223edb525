/**
 * Goal: a guest reads of its machine what it is, and what the user says of it. Method: the tables
 * taken apart again, by rules of DSP0134 that are written here anew.
 */
import { describe, expect, test } from '@jest/globals';
import { entryFor, type SmbiosFacts, smbiosTables } from '../../src/hw/firmware/smbios.js';
import { FullBoard } from '../support/full-board.js';
import { launch, refusal } from '../support/launch.js';

interface Found {
  type: number;
  handle: number;
  at: (offset: number) => number;
  bytes: Buffer;
  /** Of the string whose number stands there. */
  text: (offset: number) => string | undefined;
}

function parse(table: Buffer): Found[] {
  const found: Found[] = [];
  for (let at = 0; at < table.length;) {
    const [type, length] = table.subarray(at);
    const bytes = table.subarray(at, at + length);
    let end = at + length;
    while (table.readUInt16LE(end) !== 0) end++;
    const strings = table.toString('latin1', at + length, end).split('\0');
    found.push({
      type,
      handle: bytes.readUInt16LE(2),
      bytes,
      at: offset => bytes[offset],
      text: offset => strings[bytes[offset] - 1],
    });
    at = end + 2;
  }
  return found;
}

const facts: SmbiosFacts = {
  words: {},
  machineType: 'pc-i440fx-2.3',
  sockets: 2,
  cores: 3,
  threads: 1,
  ranges: [
    { base: 0, length: (3 << 30) >>> 0 },
    { base: 2 ** 32, length: 2 ** 30 },
  ],
};
const tables = (changes: Partial<SmbiosFacts> = {}, withBios = true) =>
  smbiosTables({ ...facts, ...changes }, { withBios });
const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

test('the entry point tells how much there is, and both of its sums are zero', () => {
  const made = tables();
  const entry = entryFor(made, 0xf0020);
  expect(entry.toString('latin1', 0, 4) + entry.toString('latin1', 16, 21)).toBe('_SM__DMI_');
  expect([entry.length, entry[5], sum(entry), sum(entry.subarray(16))]).toEqual([31, 31, 0, 0]);
  expect([entry.readUInt32LE(0x18), entry.readUInt16LE(0x16)]).toEqual([
    0xf0020,
    made.structures.length,
  ]);
  const all = parse(made.structures);
  expect(entry.readUInt16LE(0x1c)).toBe(all.length);
  expect(all.map(({ type }) => type)).toEqual([0, 1, 3, 4, 4, 16, 17, 19, 19, 32, 127]);
  expect(new Set(all.map(({ handle }) => handle)).size).toBe(all.length);
  expect(all.every(({ bytes }) => bytes.length === bytes[1])).toBe(true);
  expect(parse(tables({}, false).structures)[0].type).toBe(1);
});

test('processors, and memory in both of its ranges', () => {
  const all = parse(tables().structures);
  const of = (type: number) => all.filter(found => found.type === type);
  expect(of(4).map(cpu => [cpu.text(4), cpu.at(0x23), cpu.at(0x25)])).toEqual([
    ['CPU 0', 3, 3],
    ['CPU 1', 3, 3],
  ]);
  const [array] = of(16);
  expect(array.bytes.readUInt32LE(7)).toBe(4 << 20);
  const [dimm] = of(17);
  expect([dimm.bytes.readUInt16LE(4), dimm.bytes.readUInt16LE(0x0c)]).toEqual([array.handle, 4096]);
  const mapped = of(19).map(({ bytes }) => [bytes.readUInt32LE(4), bytes.readUInt32LE(8)]);
  expect(mapped).toEqual([
    [0, 3 * 1048576 - 1],
    [4 * 1048576, 5 * 1048576 - 1],
  ]);
});

test('more memory than a field of 16 bits holds', () => {
  const all = parse(tables({ ranges: [{ base: 0, length: 64 * 2 ** 30 }] }).structures);
  const { bytes } = all.find(({ type }) => type === 17)!;
  expect([bytes.readUInt16LE(0x0c), bytes.readUInt32LE(0x1c)]).toEqual([0x7fff, 65536]);
});

describe('what the user says', () => {
  const words = (line: string) => launch('primary', `-kernel k ${line}`).smbios ?? {};

  test('takes the place of what stands there', () => {
    const said =
      '-smbios type=0,vendor=Us,date=01/02/2003 -smbios type=1,manufacturer=Acme,serial=a,,b ' +
      '-smbios type=1,product=Anvil -smbios type=2,asset=7 -smbios type=3,sku=s ' +
      '-smbios type=11,value=one -smbios type=11,value=two';
    const all = parse(tables({ words: words(said) }).structures);
    const of = (type: number) => all.find(found => found.type === type)!;
    expect([of(0).text(4), of(0).text(5), of(0).text(8)]).toEqual(['Us', '1', '01/02/2003']);
    expect([of(1).text(4), of(1).text(5), of(1).text(7)]).toEqual(['Acme', 'Anvil', 'a,b']);
    expect([of(2).text(8), of(3).text(0x15)]).toEqual(['7', 's']);
    expect([of(1).text(6), of(3).text(6), of(4).text(0x10)]).toEqual(
      Array.from({ length: 3 }, () => facts.machineType),
    );
    expect(of(2).bytes.readUInt16LE(0x0b)).toBe(of(3).handle);
    expect(of(11).at(4)).toBe(2);
    expect(tables({ words: words(said) }).structures.includes('one\0two\0\0')).toBe(true);
  });

  test('a UUID is three numbers and eight bytes, by either option', () => {
    const uuid = '00112233-4455-6677-8899-AABBCCDDEEFF';
    const { uuid: read } = launch('primary', `-kernel k -smbios type=1,uuid=${uuid}`);
    expect(read).toBe(launch('primary', `-kernel k -uuid ${uuid}`).uuid);
    const [, system] = parse(tables({ uuid: read }).structures);
    expect(system.bytes.toString('hex', 8, 24)).toBe('33221100554477668899aabbccddeeff');
  });

  test.each([
    ['type=4,version=1', '-smbios type=4,version=1: type=4: types 0, 1, 2, 3, 11 can be said'],
    ['type=0,serial=1', "type 0 has no 'serial'; it has vendor, version, date"],
    ['type=11', 'type 11 needs value='],
    ['type=1,uuid=zz', 'not a UUID'],
    [`type=1,serial=${'x'.repeat(1025)}`, '1025 characters are too many: at most 1024'],
    ['type=1,serial=\u00e4', 'is no text of printable ASCII'],
    ['vendor=x', "Parameter 'type' is missing"],
  ])('%.30s is refused', (value, why) => {
    expect(refusal('primary', `-kernel k -smbios ${value}`)).toContain(why);
  });

  test('more than 64 KiB', () => {
    const many = Array.from({ length: 70 }, () => 'x'.repeat(1000));
    expect(() => tables({ words: { oemStrings: many } })).toThrow(/bytes of strings are too many/);
  });

  test('more strings than a byte counts', () => {
    const strings = (length: number) => Array.from({ length }, () => 'x');
    const made = parse(tables({ words: { oemStrings: strings(255) } }).structures);
    expect(made.find(({ type }) => type === 11)!.at(4)).toBe(255);
    expect(() => tables({ words: { oemStrings: strings(256) } })).toThrow(
      '-smbios type=11: 256 strings are too many: at most 255',
    );
  });
});

test('without firmware they lie where a kernel looks, below 1 MiB', () => {
  const { board } = new FullBoard();
  const low = board.lowTables();
  const entry = low.find(({ bytes }) => bytes.toString('latin1', 0, 4) === '_SM_')!;
  expect([entry.gpa & 15, entry.gpa >= 0xf0000]).toEqual([0, true]);
  const table = low.find(({ gpa }) => gpa === entry.bytes.readUInt32LE(0x18))!;
  expect(parse(table.bytes)[1].text(4)).toBe('QEMU');
  expect(low.every(({ gpa, bytes }) => gpa + bytes.length <= 0x100000)).toBe(true);
});
