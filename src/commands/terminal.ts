/** Standard input and output of this process as the port that a stdio chardev takes. */
import type { Stdio } from '../chardev/contract.js';

export function processStdio(): Stdio {
  const { stdin, stdout } = process;
  // Whoever reads our output may go away: that is no reason to stop a VM.
  stdout.on('error', () => undefined);
  stdin.on('error', () => undefined);
  const terminal = stdin.isTTY && stdout.isTTY ? { get columns() { return stdout.columns; }, onResize: (fn: () => void) => void stdout.on('resize', fn) } : undefined;
  return {
    terminal,
    setMode: mode => {
      if (stdin.isTTY) stdin.setRawMode(mode === 'raw');
    },
    interrupt: () => process.kill(process.pid, 'SIGINT'),
    write: bytes => stdout.write(bytes),
    onDrain: fn => void stdout.on('drain', fn),
    onData: fn => void stdin.on('data', (bytes: Buffer) => fn(bytes)),
    onEnd: fn => void stdin.on('end', fn),
    pause: () => void stdin.pause(),
    resume: () => void stdin.resume(),
  };
}
