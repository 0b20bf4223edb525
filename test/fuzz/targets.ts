/** Every target, each in a file of its own below targets/. */
import type { FuzzTarget } from './target.js';
import { chipsTarget } from './targets/chips.js';
import { migrationInTarget, migrationOutTarget } from './targets/migration.js';
import { optionStringsTarget } from './targets/option-strings.js';
import { pairFileTarget } from './targets/pair-file.js';
import { pairRecord } from './targets/pair-record.js';
import { qcow2Target } from './targets/qcow2.js';
import { virtioTarget } from './targets/virtio.js';
import { vncTarget } from './targets/vnc.js';

export const fuzzTargets: readonly FuzzTarget[] = [
  chipsTarget,
  migrationInTarget,
  migrationOutTarget,
  optionStringsTarget,
  pairFileTarget,
  pairRecord,
  qcow2Target,
  virtioTarget,
  vncTarget,
];
