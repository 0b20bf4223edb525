/**
 * README.md's blocks, in order: `sh` is pasted into a shell, `hmp` into the monitor that the
 * shell's last line opened; others are shown.
 */
import { readFileSync } from 'node:fs';

export interface Block {
  readonly language: string;
  readonly text: string;
  /** The line of its first one, for messages. */
  readonly line: number;
}

export function readmeBlocks(path: string): Block[] {
  const blocks: Block[] = [];
  let open: { language: string; lines: string[]; line: number } | undefined;
  readFileSync(path, 'utf8')
    .split('\n')
    .forEach((text, n) => {
      const fence = /^```(\w*)$/.exec(text);
      if (!fence) return void open?.lines.push(text);
      if (open)
        blocks.push({ language: open.language, text: open.lines.join('\n'), line: open.line });
      open = open ? undefined : { language: fence[1], lines: [], line: n + 2 };
    });
  return blocks;
}
