/** `--insecure`, of the commands that read a pair definition. */
import { Flags } from '@oclif/core';

export const insecureFlag = Flags.boolean({
  description:
    'without `tls` in the definition also over a network, where all who get there may read the ' +
    'guest and change it',
});
