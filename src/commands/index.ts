/**
 * The commands of `colo`, by name. Only the one that the command line names is loaded, for a start
 * costs what it loads; where it names none (help, a mistyped word, the pages of the manual) all
 * are.
 */
import type { Command } from '@oclif/core';
import type { Tool } from './tool.js';

export type AnyCommand = Command.Class | typeof Tool;

const table: Record<string, () => Promise<AnyCommand>> = {
  primary: async () => (await import('./primary.js')).Primary,
  secondary: async () => (await import('./secondary.js')).Secondary,
  run: async () => (await import('./run.js')).Run,
  monitor: async () => (await import('./monitor.js')).Monitor,
  hmp: async () => (await import('./hmp.js')).Hmp,
  qmp: async () => (await import('./qmp.js')).Qmp,
  list: async () => (await import('./list.js')).List,
  status: async () => (await import('./status.js')).Status,
  init: async () => (await import('./init.js')).Init,
  failover: async () => (await import('./failover.js')).Failover,
  switchover: async () => (await import('./switchover.js')).Switchover,
  leave: async () => (await import('./leave.js')).Leave,
  protect: async () => (await import('./protect.js')).Protect,
  arbiter: async () => (await import('./arbiter.js')).ArbiterCommand,
  doctor: async () => (await import('./doctor/doctor.js')).Doctor,
  completion: async () => (await import('./completion.js')).Completion,
  'image:create': async () => (await import('./image/create.js')).ImageCreate,
  'image:info': async () => (await import('./image/info.js')).ImageInfo,
  'image:check': async () => (await import('./image/check.js')).ImageCheck,
  'image:convert': async () => (await import('./image/convert.js')).ImageConvert,
  'image:compare': async () => (await import('./image/convert.js')).ImageCompare,
  'image:commit': async () => (await import('./image/commit.js')).ImageCommit,
  'image:bench': async () => (await import('./image/bench.js')).ImageBench,
  'image:map': async () => (await import('./image/map.js')).ImageMap,
  'image:record': async () => (await import('./image/record.js')).ImageRecordCommand,
  'image:rebase': async () => (await import('./image/rebase.js')).ImageRebase,
  'image:resize': async () => (await import('./image/resize.js')).ImageResize,
  'image:snapshot': async () => (await import('./image/info.js')).ImageSnapshot,
  'nbd:serve': async () => (await import('./nbd/serve.js')).NbdServe,
};

/** The names to load for these words. A completion script is about all of them. */
export function namedBy(words: readonly string[]): string[] {
  const named = [words[0], words.slice(0, 2).join(':')].find(
    name => Object.hasOwn(table, name) && name !== 'completion',
  );
  return named === undefined ? Object.keys(table) : [named];
}

export const commands: Record<string, AnyCommand> = {};
for (const name of namedBy(process.argv.slice(2))) commands[name] = await table[name]();
