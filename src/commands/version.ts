import { readFileSync } from 'node:fs';
import { packageUrl } from '../base/package.js';

/** Of this package. */
export const version = (): string =>
  (JSON.parse(readFileSync(packageUrl('package.json'), 'utf8')) as { version: string }).version;
