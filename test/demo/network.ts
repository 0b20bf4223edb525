/** The demo's network: one namespace that holds a bridge, a tap for each side, and the client. Needs root or user namespaces. */
import { execFileSync, spawnSync } from 'node:child_process';

export const addresses = { client: '10.99.0.1', guest: '10.99.0.2', port: 7777 };
export const taps = { primary: 'colo-p', secondary: 'colo-s' };
const insideFlag = 'COLO_DEMO_NAMESPACE';

/** Runs this very command again inside a fresh network namespace; returns only there. Exits with a sentence where that is impossible. */
export function enterNamespace(): void {
  if (process.env[insideFlag]) return;
  const flags = process.getuid?.() === 0 ? ['-n'] : ['-Urn'];
  const probe = spawnSync('unshare', [...flags, 'true'], { encoding: 'utf8' });
  if (probe.error || probe.status !== 0) {
    const why = probe.error ? 'unshare (package util-linux) is missing' : probe.stderr.trim();
    console.error(`The demo needs a network namespace of its own: run it as root, or allow \`unshare -Urn\` (${why}).`);
    process.exit(1);
  }
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status, signal } = spawnSync('unshare', [...flags, ...again], { stdio: 'inherit', env: { ...process.env, [insideFlag]: '1' } });
  process.exit(signal ? 1 : (status ?? 1));
}

function ip(...args: string[]): string {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Error('ip is missing: apt-get install iproute2', { cause: error });
    throw new Error(`ip ${args.join(' ')}: ${String((error as { stderr?: string }).stderr).trim()}`, { cause: error });
  }
}

/** Bridge with the client's address, and both taps on it. Fails where /dev/net/tun is closed to us. */
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
  const [link] = JSON.parse(ip('-s', '-j', 'link', 'show', tap)) as { stats64: { rx: { packets: number } } }[];
  return link.stats64.rx.packets;
}
