/** How the guest of `-incoming` gets here. */
import { isAddress, parseMigrationUri } from '../migration/uri.js';

/** A peer sends it to an address; otherwise it is read from a file or a command. */
export const comesByItself = (incoming: string) =>
  incoming !== 'defer' && isAddress(parseMigrationUri(incoming, 'listen'));
