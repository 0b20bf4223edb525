/** Options about the process of a VM: background, pid file, log and traces. */
import { readFileSync } from 'node:fs';
import { VmError } from '../../base/errors.js';
import { systemError } from '../../host/node/errors.js';
import { nothing } from '../../words/nothing.js';
import { bool, optional, parsed, str } from '../../words/types.js';
import { keyedOption, type VmOption } from './option.js';

export const explainOption: VmOption = {
  name: 'explain',
  summary:
    'run nothing: say of each option whether it is taken, asks for what is so anyway, or is ' +
    'refused and why, and the line that would run',
  readBefore: true,
  take: () => undefined,
};

export const jsonOption: VmOption = {
  name: 'json',
  summary: 'with --explain: for machines',
  readBefore: true,
  take: () => undefined,
};

export const daemonizeOption: VmOption = {
  name: 'daemonize',
  summary: 'go into the background when the VM is there; the exit code tells whether it is',
  take: draft => void (draft.process.daemonize = true),
};

export const pidfileOption: VmOption = {
  name: 'pidfile',
  value: 'PATH',
  summary: 'file for the process id, while the VM is there',
  take: (draft, value) => void (draft.process.pidfile = value),
};

export const messagesOption = keyedOption({
  name: 'msg',
  value: 'timestamp=on',
  summary: 'timestamp=on: the time of day before each line for people and each trace event',
  keys: {
    timestamp: optional(bool('the time of day before each line')),
    'guest-name': nothing(['off'], 'Lines begin with the side, not with the name.'),
  },
  take: (draft, { timestamp }) => void (draft.process.timestamps = timestamp ?? false),
});

export const logfileOption: VmOption = {
  name: 'D',
  value: 'PATH',
  summary: 'append log lines and trace events to a file instead of standard error',
  take: (draft, value) => void (draft.process.logfile = value),
};

const noFile = parsed('not supported', 'nothing', (): never => {
  throw new VmError("'file' is not supported: trace events go where the log goes", {
    hint: 'Name a file with -D.',
  });
});

export const traceOption = keyedOption({
  name: 'trace',
  value: '[enable=]PATTERN',
  repeatable: true,
  summary:
    'print trace events that match, where the log goes; events=FILE: patterns from a file, ' +
    'one a line',
  implied: 'enable',
  helpIsValue: true,
  keys: {
    enable: optional(str('a pattern')),
    events: optional(str('file of patterns, one a line')),
    file: optional(noFile),
  },
  take(draft, { enable, events }) {
    const patterns = [
      ...(enable === undefined ? [] : [enable]),
      ...(events === undefined ? [] : linesOf(events)),
    ];
    if (patterns.some(one => one === '')) throw new VmError("a pattern is missing: 'colo*'");
    draft.traces.push(...patterns);
  },
});

/** One pattern a line; # begins a comment. */
function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8')
      .split('\n')
      .map(line => line.replace(/#.*/, '').trim())
      .filter(line => line !== '');
  } catch (error) {
    throw systemError(`Could not read '${path}'`, error);
  }
}
