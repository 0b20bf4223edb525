/** Standard input and output of this process as the port that a stdio chardev takes. */
import type { Stdio, Terminal } from '../chardev/contract.js';
import { pasteMode } from '../monitor/hmp/keys.js';
import { wantsColour } from './output.js';

/** The locale says so (locale(7): the first of these that is set). Without a locale: UTF-8. */
export function asciiOnly(env: Readonly<Record<string, string | undefined>>): boolean {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'];
  return locale !== undefined && locale !== '' && !/utf-?8/i.test(locale);
}

/** Standard output is a terminal. */
export function processTerminal(): Terminal {
  const { stdout, env } = process;
  return {
    get columns() {
      return stdout.columns;
    },
    get rows() {
      return stdout.rows;
    },
    colour: wantsColour(stdout, env),
    dumb: env['TERM'] === 'dumb',
    ascii: asciiOnly(env),
    onResize: fn => void stdout.on('resize', fn),
  };
}

export function processStdio(): Stdio {
  const { stdin, stdout } = process;
  // Whoever reads our output may go away: that is no reason to stop a VM.
  stdout.on('error', () => undefined);
  stdin.on('error', () => undefined);
  const terminal = stdin.isTTY && stdout.isTTY ? processTerminal() : undefined;
  const setMode = (mode: 'cooked' | 'raw') => {
    if (!stdin.isTTY) return;
    if (mode === 'cooked' && stdin.isRaw && terminal?.dumb === false) stdout.write(pasteMode.off);
    stdin.setRawMode(mode === 'raw');
  };
  // However this process ends, short of kill -9: the shell finds its terminal as it was.
  process.once('exit', () => setMode('cooked'));
  return {
    terminal,
    setMode,
    interrupt: () => process.kill(process.pid, 'SIGINT'),
    write: bytes => stdout.write(bytes),
    onDrain: fn => void stdout.on('drain', fn),
    onData: fn => void stdin.on('data', (bytes: Buffer) => fn(bytes)),
    onEnd: fn => void stdin.on('end', fn),
    pause: () => void stdin.pause(),
    resume: () => void stdin.resume(),
  };
}
