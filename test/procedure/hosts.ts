/**
 * Two hosts as the mail has them: a network namespace each, with a bridge that the default route
 * leads to, so that /etc/qemu-ifup finds it. Outside of both are the switch, the client and the
 * router, which knows the secondary under a second address.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

export const client = '192.168.2.1';
export const guest = { host: '192.168.2.100', port: 7777 };
/** The mail's NBD server binds the secondary's address; its client dials the other one. */
export const addressOf = { primary: '192.168.2.87', secondary: '192.168.2.88' } as const;
const DIALLED = '9.61.1.7';
/** With this process, however it ends: hosts and machines would go on without it. */
const DIES_TOO = ['--pdeathsig', 'KILL'];
export type Side = keyof typeof addressOf;

function run(command: string, args: readonly string[], input?: string): void {
  try {
    execFileSync(command, args, { input, stdio: ['pipe', 'ignore', 'pipe'], timeout: 20_000 });
  } catch (error) {
    const said = String((error as { stderr?: Buffer }).stderr ?? error).trim();
    throw new Error(`${command} ${args.join(' ')}: ${said}`, { cause: error });
  }
}
const ip = (line: string) => run('ip', line.split(' '));

export function buildSwitch(): void {
  ip('link set lo up');
  ip('link add switch type bridge');
  ip(`addr add ${client}/24 dev switch`);
  ip('link set switch up');
  run('sysctl', ['-q', '-w', 'net.ipv4.ip_forward=1']);
  const chain = (name: string, hook: string, rule: string) =>
    `chain ${name} { type nat hook ${hook}; ${rule}; }`;
  const pre = chain(
    'there',
    'prerouting priority dstnat',
    `ip daddr ${DIALLED} dnat to ${addressOf.secondary}`,
  );
  const post = chain('back', 'postrouting priority srcnat', 'ct status dnat masquerade');
  run('nft', ['-f', '-'], `table ip mail {\n${pre}\n${post}\n}\n`);
}

export class Host {
  private readonly keeper: ChildProcess;
  private readonly gone: Promise<never>;

  constructor(private readonly side: Side) {
    // /sys shows the network that it was mounted in, and /etc/qemu-ifup looks for bridges there.
    const script = 'mount -t sysfs sysfs /sys && echo ready && exec sleep infinity';
    this.keeper = spawn('setpriv', [...DIES_TOO, 'unshare', '-n', '-m', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.gone = once(this.keeper, 'exit').then(() => {
      throw new Error('no network of its own could be made for a host');
    });
    this.gone.catch(() => undefined);
  }

  async ready(): Promise<void> {
    await Promise.race([once(this.keeper.stdout!, 'data'), this.gone]);
    const { side } = this;
    const inside = (line: string) => run('nsenter', this.enter('ip', ...line.split(' ')));
    ip(`link add ${side} type veth peer name wire netns ${this.keeper.pid}`);
    ip(`link set ${side} master switch`);
    ip(`link set ${side} up`);
    for (const line of [
      'link set lo up',
      'link add br0 type bridge',
      'link set wire master br0',
      'link set wire up',
      'link set br0 up',
      `addr add ${addressOf[side]}/24 dev br0`,
      `route add default via ${client} dev br0`,
    ])
      inside(line);
  }

  private enter(...command: string[]): string[] {
    return ['-t', String(this.keeper.pid), '-n', '-m', ...command];
  }

  start(command: readonly string[], env: NodeJS.ProcessEnv, log: number): ChildProcess {
    return spawn('setpriv', [...DIES_TOO, 'nsenter', ...this.enter(...command)], {
      stdio: ['pipe', 'pipe', log],
      env,
    });
  }

  dispose(): void {
    this.keeper.kill('SIGKILL');
  }
}
