/** Every command that a machine of ours can have. */
import { Registry } from '../schema.js';
import { blockCommands } from './block.js';
import { blockIoCommands } from './block-io.js';
import { channelCommands } from './channels.js';
import { coloCommands } from './colo.js';
import { displayCommands } from './display.js';
import { helpCommands } from './help.js';
import { inputCommands } from './input.js';
import { inspectCommands } from './inspect.js';
import { jobCommands } from './jobs.js';
import { lifecycleCommands } from './lifecycle.js';
import { logCommands } from './log.js';
import { mediaCommands } from './media.js';
import { memoryCommands } from './memory.js';
import { migrationCommands } from './migration.js';
import { objectCommands } from './objects.js';
import { plugCommands } from './plug.js';
import { statusCommands } from './status.js';
import { terminalCommands } from './terminal.js';
import { userNetCommands } from './user-net.js';
import { yankCommands } from './yank.js';

export const allCommands = [
  ...helpCommands,
  ...statusCommands,
  ...lifecycleCommands,
  ...migrationCommands,
  ...coloCommands,
  ...blockCommands,
  ...blockIoCommands,
  ...mediaCommands,
  ...jobCommands,
  ...inspectCommands,
  ...inputCommands,
  ...displayCommands,
  ...memoryCommands,
  ...logCommands,
  ...channelCommands,
  ...objectCommands,
  ...plugCommands,
  ...userNetCommands,
  ...terminalCommands,
  ...yankCommands,
];

export const monitorRegistry = new Registry(allCommands);
