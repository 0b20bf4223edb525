/**
 * Goal: stock Linux sets up a tablet on USB, gets its positions, and goes on getting them elsewhere
 * after a checkpoint. Method: the real CPU and board; Debian's kernel for every machine, since the
 * cloud kernel has no USB (or COLO_TEST_KERNEL and COLO_TEST_MODULES, its unpacked tree). Skipped,
 * with the reason printed, where no kernel can be had.
 */
import { describe, expect, test } from '@jest/globals';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestDisk } from '../support/device-bench.js';
import { type GuestImage, imageOrReason } from './build.js';
import { GuestVm } from './vm.js';

const LIMIT_MS = 300_000;
const disk = new TestDisk(2048);
const image = await imageOrReason({ usb: true });

const devices = [
  { model: 'piix3-usb-uhci', id: 'usb', properties: {} },
  { model: 'usb-tablet', id: 'tablet', properties: {} },
  { model: 'virtio-net-pci', id: 'nic0', properties: { netdev: 'hn0' } },
];
const build = (changes: Partial<MachineSpec>) =>
  GuestVm.build({ devices, ...changes }, { disk, accel: 'soft', limitMs: LIMIT_MS });

async function pointTo(vm: GuestVm, x: number, y: number, down: boolean): Promise<void> {
  const { input } = vm.machine().board;
  expect(input.absolute).toBe(true);
  input.moveTo('x', x);
  input.moveTo('y', y);
  input.button('left', down);
  input.sync();
  const seen = `colo-guest: pointer ${x} ${y} ${down ? 1 : 0}`;
  await vm.until(seen, () => vm.console.written.includes(seen));
}

(typeof image === 'string' ? describe.skip : describe)('Debian kernel', () => {
  test(
    'a USB tablet gives positions, here and on another machine after a checkpoint',
    async () => {
      const append =
        'console=ttyS0 panic=-1 cryptomgr.notests colo.usb=1 colo.pages=0 colo.writers=0';
      const first = await build({ ...(image as GuestImage), append });
      const { board } = first.machine();
      expect(board.input.absolute).toBe(false);
      first.machine().start();
      await first.until('the tablet', () => first.console.written.includes('colo-guest: tablet'));
      await first.until('that it is asked', () => board.input.absolute);
      const { written } = first.console;
      expect(written).toMatch(/uhci_hcd 0000:00:02\.2: irq 21, io port 0x/);
      expect(written).toContain('colo-guest: tablet COLO USB Tablet');
      await pointTo(first, 1000, 2000, true);
      await pointTo(first, 32767, 0, false);

      await first.machine().lifecycle.stopForCheckpoint();
      const second = await build({ incoming: 'tcp:0:0' });
      first.carryTo(second);
      await first.machine().dispose();
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      await pointTo(second, 3000, 4000, true);
      await pointTo(second, 3001, 4000, false);
      expect(first.console.written + second.console.written).not.toMatch(
        /WARNING|BUG|nobody cared|FAILED|USB disconnect/,
      );
      await second.machine().dispose();
    },
    3 * LIMIT_MS,
  );
});
