/** How text may look where it is shown. Without a style: plain lines, as QEMU prints them. */
import { Chalk } from 'chalk';

export interface Style {
  readonly columns: number;
  readonly colour: boolean;
  /** It shows nothing but ASCII. */
  readonly ascii?: boolean;
}

/**
 * Whether the peer is a terminal with colours is known here alone; what this process has for
 * standard output does not count.
 */
const chalk = new Chalk({ level: 1 });

export function paint(
  text: string,
  as: 'red' | 'green' | 'grey' | 'bold',
  { colour }: Pick<Style, 'colour'>,
): string {
  return colour ? chalk[as](text) : text;
}

/** Failures stand out. */
export function paintOutput(text: string, style: Pick<Style, 'colour'>): string {
  return style.colour
    ? text.replace(/^(Error:|unknown command:)/gm, word => paint(word, 'red', style))
    : text;
}
