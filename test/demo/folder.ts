/**
 * The folder of a run below TMPDIR: what would fail in the middle of it is told before it begins.
 */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A reason for a person, without a stack. */
export class CannotRun extends Error {}

/** Images are sparse; this is for what the guest writes into both, with logs. */
const wantedBytes = 64e6;
/** sun_path of unix(7), less the final zero. */
const socketPathMax = 107;
const longestSocket = join('colo', 'secondary', 'qmp');

/** Makes one, and takes it away: before there is anything to lose. */
export const checkRunFolder = () => rmSync(makeRunFolder('colo-check-'), { recursive: true });

export function makeRunFolder(prefix: string): string {
  const elsewhere = 'set TMPDIR to another folder';
  let dir: string;
  try {
    dir = mkdtempSync(join(tmpdir(), prefix));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CannotRun(`no folder can be made in ${tmpdir()} (${code}): ${elsewhere}`, {
      cause: error,
    });
  }
  const objection = objectionTo(dir);
  if (objection === undefined) return dir;
  rmSync(dir, { recursive: true });
  throw new CannotRun(`${objection}: ${elsewhere}`);
}

function objectionTo(dir: string): string | undefined {
  const over = Buffer.byteLength(join(dir, longestSocket)) - socketPathMax;
  if (over > 0) return `the path of ${tmpdir()} is ${over} bytes too long for sockets below it`;
  const { bavail, bsize } = statfsSync(dir);
  const free = bavail * bsize;
  const mb = (bytes: number) => `${Math.floor(bytes / 1e6)} MB`;
  return free < wantedBytes
    ? `${tmpdir()} has ${mb(free)} free, and ${mb(wantedBytes)} are needed`
    : undefined;
}
