/**
 * Serial ports, clock, power management, PCI host and the rest of the board: accesses, characters,
 * time, checkpoints, mutated states.
 */
import type { FuzzTarget } from '../target.js';
import { FuzzedBoard, settled } from './board.js';

const CHIPS = ['pci-host', 'rtc', 'i8042', 'port92', 'acpi-pm', 'serial0', 'serial1', 'exit0'];

export const chipsTarget: FuzzTarget = {
  name: 'chips',
  summary:
    "random accesses to the board's chips: no exception, and each own state is accepted, also " +
    'after a mutated one',
  async run(random) {
    const it = new FuzzedBoard(random);
    const { chr, host } = it.board;
    for (let n = 3 + random.below(20); n > 0; n--) {
      switch (random.below(8)) {
        case 0:
          chr.type('x'.repeat(random.below(random.below(10) === 0 ? 70_000 : 40)));
          break;
        case 1:
          chr.sendBreak();
          break;
        case 2:
          chr.full = random.below(2) === 0;
          if (!chr.full) chr.drain();
          break;
        case 3:
          host.advance(random.next() * 3000);
          break;
        case 4:
          await it.checkpoint();
          break;
        default:
          it.board.poke(random, 40, CHIPS[random.below(CHIPS.length)]);
      }
      if (random.below(4) === 0) await settled();
    }
    await it.end();
  },
};
