/**
 * One of several processes that change a record as fast as they can until it is of the last term:
 * ADDRESS NODE TERMS. Prints the terms that it won.
 */
import { parseArbiterAddress } from '../../src/arbiter/address.js';
import { openArbiter } from '../../src/arbiter/open.js';
import { nodeHost } from '../../src/host/node/host.js';
import { arbiterRecord } from './arbiter-contract.js';

const [address, node, terms] = process.argv.slice(2);
const arbiter = await openArbiter(parseArbiterAddress(address), nodeHost());
for (;;) {
  const held = await arbiter.read();
  const term = (held?.record.term ?? 0) + 1;
  if (term > Number(terms)) break;
  if ((await arbiter.compareAndSet(held, arbiterRecord({ term, owner: node }))) === 'won')
    console.log(term);
}
arbiter.dispose();
