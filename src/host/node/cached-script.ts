/**
 * A bundle in CommonJS, with V8's code cache beside it: what a start compiles is most of what it
 * does. V8 takes a cache of its own version and flags alone, and compiles where it does not; both
 * files are of one build (bin/build.js). ES modules cannot have one in Node 20.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';

/** bundleUrl: what `import.meta.url` was. */
const HEAD = '(function (module, require, bundleUrl) {';

type Bundle = (module: { exports: unknown }, require: NodeJS.Require, bundleUrl: string) => void;

export interface CachedScript {
  readonly exports: unknown;
  /** Of all functions that were compiled up to now. */
  makeCache(): Buffer;
}

export const cachePath = (url: string): string => `${fileURLToPath(url)}.cache`;

export function loadCached(url: string): CachedScript {
  const path = fileURLToPath(url);
  const source = `${HEAD}${readFileSync(path, 'utf8')}\n})`;
  const script = new Script(source, {
    // A cache keeps it, and may have been made in another folder: see source-stacks.ts.
    filename: `file:${basename(path)}`,
    columnOffset: -HEAD.length,
    cachedData: cacheOf(url),
  });
  const module = { exports: undefined as unknown };
  (script.runInThisContext() as Bundle)(module, createRequire(url), url);
  return { exports: module.exports, makeCache: () => script.createCachedData() };
}

/** undefined: there is none, and V8 compiles. */
function cacheOf(url: string): Buffer | undefined {
  try {
    return readFileSync(cachePath(url));
  } catch {
    return undefined;
  }
}
