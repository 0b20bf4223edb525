/**
 * Goal: the host's SeaBIOS and its VGA BIOS show text and graphics, take keys, and after a
 * checkpoint the other side shows the same picture. Method: the real CPU and board, and a boot
 * sector of our own that prints, waits for a key, and draws a line in a VBE mode. Skipped where
 * there is no SeaBIOS.
 */
import { existsSync } from 'node:fs';
import { afterEach, describe, expect, test } from '@jest/globals';
import { newPainter, type Surface } from '../../src/hw/display/surface.js';
import { keyCode } from '../../src/hw/input/key-codes.js';
import type { UsbKeyboard } from '../../src/hw/usb/usb-keyboard.js';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestDisk } from '../support/device-bench.js';
import { GuestVm } from './vm.js';

const LIMIT_MS = 120_000;
const found = existsSync('/usr/share/seabios/vgabios-stdvga.bin');
if (!found) console.log('skipped: there is no /usr/share/seabios/vgabios-stdvga.bin');

const PROMPT = 'press a key';
const TEXT_AT = 0x80;

/** 16-bit code, at 0x7c00. */
function drawingSector(): Buffer {
  const b = Buffer.alloc(512);
  let at = 0;
  const put = (...bytes: number[]) => {
    b.set(bytes, at);
    at += bytes.length;
  };
  put(0x31, 0xc0, 0x8e, 0xd8, 0xbe, TEXT_AT, 0x7c); // xor ax,ax; mov ds,ax; mov si,text
  put(0xac, 0x08, 0xc0, 0x74, 0x09); // lodsb; or al,al; jz +9
  put(0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10); // mov ah,0x0e; mov bx,7; int 0x10
  put(0xeb, 0xf2); // jmp lodsb
  put(0xb4, 0x00, 0xcd, 0x16); // mov ah,0; int 0x16: waits for a key
  put(0xba, 0xf8, 0x03, 0xee); // mov dx,0x3f8; out dx,al
  put(0xb8, 0x02, 0x4f, 0xbb, 0x01, 0x01, 0xcd, 0x10); // 640x480, 256 colours
  put(0xb8, 0x00, 0xa0, 0x8e, 0xc0, 0x31, 0xff); // mov ax,0xa000; mov es,ax; xor di,di
  put(0xb0, 0x0c, 0xb9, 0x80, 0x02, 0xf3, 0xaa); // mov al,12; mov cx,640; rep stosb
  put(0xb0, 0x2e, 0xba, 0xf8, 0x03, 0xee); // mov al,'.'; out 0x3f8
  put(0xf4, 0xeb, 0xfd); // hlt; jmp hlt
  b.write(`${PROMPT}\r\n\0`, TEXT_AT, 'latin1');
  b.writeUInt16LE(0xaa55, 510);
  b.set([0x80, 0, 2, 0, 0x83, 0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0], 0x1be);
  return b;
}

const card = [{ model: 'VGA', id: 'vga', properties: {} }];
const usb = [
  { model: 'piix3-usb-uhci', id: 'usb', properties: {} },
  { model: 'usb-kbd', id: 'kbd', properties: {} },
];

const running: GuestVm[] = [];
const disk = new TestDisk(2048);
disk.data.set(drawingSector());

async function build(changes: Partial<MachineSpec> = {}): Promise<GuestVm> {
  const vm = await GuestVm.build(
    { ramBytes: 32 << 20, noReboot: false, devices: card, ...changes },
    { disk, accel: 'soft', limitMs: LIMIT_MS },
  );
  running.push(vm);
  return vm;
}

afterEach(async () => {
  for (const vm of running.splice(0)) await vm.machine().dispose();
});

const picture = (vm: GuestVm): Surface => vm.machine().board.screen!.paint(newPainter()).surface;
/** Characters of the first page of text. */
const text = (vm: GuestVm): string => {
  const { bytes } = vm.machine().accel.ram.video!;
  return Array.from({ length: 80 * 25 }, (_, n) => String.fromCharCode(bytes[8 * n])).join('');
};

(found ? describe : describe.skip)('SeaBIOS and its VGA BIOS', () => {
  test(
    'text, a key, a VBE mode, and the same picture on the other side',
    async () => {
      const vm = await build();
      vm.machine().start();
      await vm.until('the prompt', () => text(vm).includes(PROMPT));
      const shown = picture(vm);
      expect([shown.width, shown.height]).toEqual([720, 400]);
      const line = Math.floor(text(vm).indexOf(PROMPT) / 80) * 16 * 720;
      const lit = shown.pixels.subarray(line, line + 16 * 720).filter(pixel => pixel === 0xaaaaaa);
      expect(lit.length).toBeGreaterThan(150);
      const { input } = vm.machine().board;
      await vm.until('the key', () => {
        input.key(keyCode('x'), true);
        input.key(keyCode('x'), false);
        return vm.console.written.includes('x');
      });
      await vm.until('the line', () => vm.console.written.endsWith('.'));
      const drawn = picture(vm);
      expect([drawn.width, drawn.height]).toEqual([640, 480]);
      expect(new Set(drawn.pixels.subarray(0, 640))).toEqual(new Set([0xff5555]));
      expect(new Set(drawn.pixels.subarray(640))).toEqual(new Set([0]));

      const a = vm.machine().lifecycle;
      await a.stopForCheckpoint();
      const second = await build({ incoming: 'tcp:0:0' });
      vm.carryTo(second);
      expect(second.machine().lifecycle.ram.hash()).toBe(a.ram.hash());
      expect(picture(second)).toEqual(drawn);
    },
    2 * LIMIT_MS,
  );

  test(
    'a key of a USB keyboard',
    async () => {
      const vm = await build({ devices: [...card, ...usb] });
      vm.machine().start();
      await vm.until('the prompt', () => text(vm).includes(PROMPT));
      const { input, devices } = vm.machine().board;
      await vm.until('that it is asked', () => (devices.find('kbd') as UsbKeyboard).ready);
      input.key(keyCode('x'), true);
      input.key(keyCode('x'), false);
      await vm.until('the key', () => vm.console.written.includes('x'));
    },
    LIMIT_MS,
  );
});
