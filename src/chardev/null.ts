/** The channel to nowhere: takes everything, says nothing. */
import { LocalChar } from './local.js';

export class NullChar extends LocalChar {
  readonly label = 'null';

  write(): boolean {
    return true;
  }
}
