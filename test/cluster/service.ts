/**
 * `npm run test:service`: colo@.service under a real systemd, the first process of a namespace: it
 * is started, its supervisor killed and stopped for good, its VM killed; it is restarted and ended.
 * Half a minute; needs root and Debian's systemd.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fakeKernel } from '../support/fake-kernel.js';
import { root } from '../support/sources.js';
import { Assembler } from '../support/toy-guest.js';

const LIMIT_MS = 60_000;
const SYSTEMD = '/lib/systemd/systemd';
const own = '10.97.0.1';
const at = (host: string) => `{migration: "tcp:${host}:8888", nbd: "tcp:${host}:8889"}`;
const definition =
  `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\npeer: ${at('10.97.0.2')}\n` +
  `back: ${at(own)}\ndisks: [{primary: p.img, secondary: s.img, size: 4M}]\n`;

/**
 * It finds no unit but those given here and writes to nothing of this machine: what systemd does
 * as it boots includes emptying /tmp.
 */
const boot = (dir: string) => `set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname box
mount -t tmpfs tmpfs /mnt && cp -a ${dir} /mnt/pair
for place in /run /tmp /var/tmp /dev/shm /var/log /var/lib /etc/systemd \\
  /usr/lib/systemd/system /usr/lib/systemd/system-generators /usr/lib/tmpfiles.d /usr/lib/sysctl.d
do mount -t tmpfs tmpfs $place; done
for unit in sysinit basic shutdown box network-online remote-fs; do
  printf '[Unit]\\nDefaultDependencies=no\\n' > /usr/lib/systemd/system/$unit.target
done
cp /mnt/pair/colo@.service /usr/lib/systemd/system/
ip link set lo up
ip addr add ${own}/32 dev lo
export container=lxc
exec ${SYSTEMD} --system --unit=box.target --log-target=console
`;

class Box {
  private readonly dir = mkdtempSync(join(tmpdir(), 'colo-service-'));
  private readonly unshare;

  constructor() {
    const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
    writeFileSync(join(this.dir, 'vmlinuz'), fakeKernel({ code }));
    writeFileSync(join(this.dir, 'toy.yaml'), definition);
    const unit = readFileSync(join(root, 'packaging/systemd/colo@.service'), 'utf8')
      .replace('ExecStart=colo ', `ExecStart=${join(root, 'bin/run.js')} `)
      .replaceAll('/etc/colo/', '/mnt/pair/')
      .replace(/^WatchdogSec=.*/m, 'WatchdogSec=4');
    writeFileSync(join(this.dir, 'colo@.service'), unit);
    writeFileSync(join(this.dir, 'boot'), boot(this.dir));
    const flags = ['-m', '-u', '-i', '-n', '-p', '-C', '--fork', '--kill-child'];
    this.unshare = spawn('unshare', [...flags, 'bash', join(this.dir, 'boot')], {
      stdio: 'ignore',
      env: { PATH: process.env['PATH'] },
    });
  }

  run(...words: string[]): string {
    const { pid } = this.unshare;
    const first = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const enter = ['-t', first, '-m', '-u', '-i', '-n', '-p', '-C', ...words];
    return execFileSync('nsenter', enter, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  show = (property: string) =>
    this.run('systemctl', 'show', '-P', property, 'colo@toy.service').trim();

  vm(): number | undefined {
    const words = [process.execPath, join(root, 'bin/run.js'), 'list', '--json'];
    return (JSON.parse(this.run(...words)) as { pid: number }[])[0]?.pid;
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const end = performance.now() + LIMIT_MS;
    for (;;) {
      try {
        if (holds()) return console.log(what);
      } catch {
        // It does not answer yet.
      }
      if (performance.now() > end) throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}`);
      await sleep(200);
    }
  }

  end(): void {
    this.unshare.kill('SIGKILL');
    rmSync(this.dir, { recursive: true });
  }
}

async function prove(box: Box): Promise<void> {
  const systemctl = (verb: string) => box.run('systemctl', verb, 'colo@toy.service');
  const again = (restarts: number) =>
    box.show('NRestarts') === String(restarts) && box.show('ActiveState') === 'active';
  await box.until('systemd is there', () => box.run('systemctl', 'is-active', 'box.target') !== '');
  systemctl('start');
  const vm = box.vm();
  if (vm === undefined) throw new Error('started, and no VM is there');
  const same = () => box.vm() === vm;
  await box.until('started: its VM is there, and the status says so', () =>
    box.show('StatusText').startsWith('toy-primary is alone'),
  );
  box.run('kill', '-KILL', box.show('MainPID'));
  await box.until('a supervisor that is killed finds its VM', () => again(1) && same());
  box.run('kill', '-STOP', box.show('MainPID'));
  await box.until('one that hangs is replaced, and its VM is the same', () => again(2) && same());
  box.run('kill', '-KILL', String(vm));
  await box.until('a VM that is lost is started again', () => (box.vm() ?? vm) !== vm);
  const second = box.vm();
  systemctl('restart');
  await box.until('restart ends the VM, and starts one', () => (box.vm() ?? second) !== second);
  systemctl('stop');
  await box.until('stop ends both in order', () => {
    return box.vm() === undefined && box.show('Result') === 'success';
  });
}

if (!existsSync(SYSTEMD) || process.getuid?.() !== 0) {
  console.error(`root is needed, and ${SYSTEMD}: apt-get install systemd`);
  process.exit(1);
}
const box = new Box();
try {
  await prove(box);
} finally {
  box.end();
}
