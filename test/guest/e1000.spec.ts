/**
 * Goal: stock Linux drives an e1000 with its own driver, and goes on elsewhere after a checkpoint.
 * Method: the real CPU and board; Debian's kernel for every machine, since the cloud kernel has no
 * such driver (or COLO_TEST_KERNEL and COLO_TEST_MODULES, its unpacked tree). Skipped, with the
 * reason printed, where no kernel can be had.
 */
import { describe, expect, test } from '@jest/globals';
import type { MachineSpec } from '../../src/machine/spec.js';
import { TestDisk } from '../support/device-bench.js';
import { type GuestImage, imageOrReason } from './build.js';
import { GuestVm } from './vm.js';

const LIMIT_MS = 300_000;
const disk = new TestDisk(2048);
const image = await imageOrReason({ e1000: true });

const devices = [{ model: 'e1000', id: 'nic0', properties: { netdev: 'hn0' } }];
const build = (changes: Partial<MachineSpec>) =>
  GuestVm.build({ devices, ...changes }, { disk, accel: 'soft', limitMs: LIMIT_MS });

const GUEST = Buffer.from('525400123456', 'hex');
const HOST = Buffer.from('525400000001', 'hex');
const question = Buffer.concat([
  Buffer.alloc(6, 0xff),
  HOST,
  Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]),
  HOST,
  Buffer.from([10, 0, 2, 2, 0, 0, 0, 0, 0, 0, 10, 0, 2, 15]),
]);
/** ARP's answer to the question. */
const isAnswer = (frame: Buffer) =>
  frame.readUInt32BE(12) === 0x0806_0001 && frame[21] === 2 && frame.subarray(6, 12).equals(GUEST);

async function answers(vm: GuestVm, times: number): Promise<void> {
  for (let n = 0; n < times; n++) {
    vm.net.sent.length = 0;
    vm.net.arrive(question);
    await vm.until('an answer', () => vm.net.sent.some(isAnswer));
  }
}

(typeof image === 'string' ? describe.skip : describe)('Debian kernel', () => {
  test.each(['', 'noapic'])(
    'an e1000 answers, here and on another machine after a checkpoint: %s',
    async how => {
      const plain = 'console=ttyS0 panic=-1 cryptomgr.notests';
      const append = `${plain} colo.ip=10.0.2.15 colo.pages=0 ${how}`;
      const first = await build({ ...(image as GuestImage), append });
      first.machine().start();
      const { console } = first;
      await first.until('the link', () => /NIC Link is Up 1000 Mbps/.test(console.written));
      expect(console.written).toMatch(/\(PCI:33MHz:32-bit\) 52:54:00:12:34:56/);
      await answers(first, 20);

      await first.machine().lifecycle.stopForCheckpoint();
      const second = await build({ incoming: 'tcp:0:0' });
      first.carryTo(second);
      await first.machine().dispose();
      second.machine().lifecycle.goOnAfterFailover({ run: true });
      await answers(second, 20);
      expect(console.written + second.console.written).not.toMatch(
        /WARNING|BUG|nobody cared|FAILED|Tx Unit Hang|NETDEV WATCHDOG/,
      );
      await second.machine().dispose();
    },
    3 * LIMIT_MS,
  );
});
