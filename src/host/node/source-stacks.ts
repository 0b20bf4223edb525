/**
 * Stacks of errors by file and line of the sources: what runs is a bundle of them, whose source
 * maps are read where somebody looks at a stack, and not at the start, as Node would read them.
 */
import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageUrl } from '../../base/package.js';

const LOCATION = /(file:[^()\s]+\.c?js):(\d+):(\d+)/;

/** As V8 has it, with its place. */
interface Printed {
  toString(): string;
}

/** From now on, in this process. */
export function showSourceStacks(): void {
  Error.prepareStackTrace = (error, frames) => {
    const maps = new Map<string, SourceMap | undefined>();
    const lines = frames.map(frame => sourceFrame((frame as Printed).toString(), maps));
    return [String(error), ...lines].join('\n    at ');
  };
}

/** maps: those of this stack. None is kept, for they are large, and stacks are rare. */
function sourceFrame(frame: string, maps: Map<string, SourceMap | undefined>): string {
  const [text, url, line, column] = LOCATION.exec(frame) ?? [];
  if (text === undefined) return frame;
  // Of a script with a code cache the name alone is known (`file:vm.cjs`): it lies beside this.
  const whole = new URL(url, import.meta.url).href;
  if (!maps.has(whole)) maps.set(whole, mapOf(whole));
  const origin = maps.get(whole)?.findEntry(Number(line) - 1, Number(column) - 1);
  if (!origin || !('originalSource' in origin)) return frame;
  const source = fileURLToPath(new URL(origin.originalSource, whole));
  const path = relative(fileURLToPath(packageUrl('')), source);
  return frame.replace(text, `${path}:${origin.originalLine + 1}:${origin.originalColumn + 1}`);
}

/** undefined: there is none, and the frame stays what it is. */
function mapOf(url: string): SourceMap | undefined {
  try {
    return new SourceMap(
      JSON.parse(readFileSync(new URL(`${url}.map`), 'utf8')) as SourceMapPayload,
    );
  } catch {
    return undefined;
  }
}
