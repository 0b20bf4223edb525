/** How the guest of `-incoming` gets here. */
import { isAddress, parseMigrationUri } from '../migration/uri.js';

/**
 * True where a peer sends the guest to an address; false where it is read from a file or a command.
 */
export const comesByItself = (incoming: string) =>
  incoming !== 'defer' && isAddress(parseMigrationUri(incoming, 'listen'));
