/** All of RAM, to the secondary, while the guest runs: before the first checkpoint. */
import type { Link } from '../migration/link.js';
import { Pace } from '../migration/pace.js';
import { type PageStaging, chunkPagesOfData, encodePageChunk } from '../migration/pages.js';
import { precopy } from '../migration/precopy.js';
import { Turns } from '../migration/turns.js';
import type { ColoPorts } from './contract.js';
import { type Message, kindOf } from './messages.js';

export async function sendRam(link: Link<Message>, ports: ColoPorts): Promise<void> {
  const { clock, lifecycle, migration, options, parameters } = ports;
  const pace = new Pace(clock, parameters);
  const target = {
    sendChunk: async (staging: PageStaging, from: number, to: number) => {
      const frame = encodePageChunk(kindOf('pages'), staging, from, to);
      migration.sent(frame.length, to - from, chunkPagesOfData(frame));
      await link.sendFrame({ type: 'pages', body: frame }, frame);
      await link.guard(pace.after(frame.length), 'max-bandwidth');
    },
    endRound: () => link.send({ type: 'round-end' }),
    progress: (round: number, dirtyPages: number) => migration.pass(round, dirtyPages),
  };
  const chunkPages = () => pace.chunkPages(options.chunkPages);
  await precopy(lifecycle, target, {
    chunkPages,
    rounds: options.precopyRounds,
    turns: new Turns(clock, options.turnBytes),
    enough: pages => pages <= options.precopyEnoughPages,
  });
}
