/**
 * The demo's network: one namespace that holds a bridge, a tap for each side, and the client. Needs
 * root or user namespaces.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { CannotRun, checkRunFolder } from './folder.js';

export const addresses = { client: '10.99.0.1', guest: '10.99.0.2', port: 7777 };
export const taps = { primary: 'colo-p', secondary: 'colo-s' };
const insideFlag = 'COLO_DEMO_NAMESPACE';

/**
 * When the command began, by the clock of performance.timeOrigin: outside, if this is the process
 * inside.
 */
export const startedAt = () => Number(process.env[insideFlag] ?? performance.timeOrigin);

/**
 * Runs this very command again inside a fresh network namespace; returns only there. Before that it
 * calls prepare(), which has the network of the host. Throws a sentence where a namespace is
 * impossible.
 */
export async function enterNamespace(prepare: () => Promise<unknown>): Promise<void> {
  if (process.env[insideFlag]) return;
  const flags = process.getuid?.() === 0 ? ['-n'] : ['-Urn'];
  const probe = spawnSync('unshare', [...flags, 'true'], { encoding: 'utf8' });
  if (probe.error || probe.status !== 0) {
    const why = probe.error
      ? 'unshare is missing: apt-get install util-linux'
      : probe.stderr.trim();
    const sentence =
      'a network namespace of its own is needed: run this as root, or allow `unshare -Urn`';
    throw new CannotRun(`${sentence} (${why})`);
  }
  checkTun();
  checkRunFolder();
  await prepare();
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [insideFlag]: String(startedAt()) };
  const { status, signal } = spawnSync('unshare', [...flags, ...again], { stdio: 'inherit', env });
  process.exit(signal ? 1 : (status ?? 1));
}

/** Root of a user namespace is a stranger to the device: its mode decides, as outside. */
function checkTun(): void {
  const tun = '/dev/net/tun';
  try {
    closeSync(openSync(tun, 'r+'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const way =
      code === 'ENOENT' || code === 'ENODEV'
        ? 'load the module tun: `modprobe tun` as root'
        : `run this as root, or open it for all, as Debian does: \`chmod 666 ${tun}\` as root`;
    throw new CannotRun(`taps are needed, and ${tun} cannot be opened (${code}): ${way}`);
  }
}

function ip(...args: string[]): string {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new Error('ip is missing: apt-get install iproute2', { cause: error });
    throw new Error(
      `ip ${args.join(' ')}: ${String((error as { stderr?: string }).stderr).trim()}`,
      { cause: error },
    );
  }
}

/** Bridge with the client's address, and both taps on it. */
export function buildNetwork(): void {
  ip('link', 'set', 'lo', 'up');
  ip('link', 'add', 'br0', 'type', 'bridge');
  ip('addr', 'add', `${addresses.client}/24`, 'dev', 'br0');
  ip('link', 'set', 'br0', 'up');
  for (const tap of Object.values(taps)) addTap(tap);
}

function addTap(tap: string): void {
  ip('tuntap', 'add', tap, 'mode', 'tap');
  ip('link', 'set', tap, 'master', 'br0');
  ip('link', 'set', tap, 'up');
}

/** Frames that the owner of a tap has sent to the world. */
export function framesFrom(tap: string): number {
  const [link] = JSON.parse(ip('-s', '-j', 'link', 'show', tap)) as {
    stats64: { rx: { packets: number } };
  }[];
  return link.stats64.rx.packets;
}
