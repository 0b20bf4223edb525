/**
 * Two hosts of a cluster on this one: each has processes, mounts, a name and a network of its own,
 * and Debian's corosync and Pacemaker. Killing its first process is the loss of the host.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/sources.js';

export const hostNames = ['alpha', 'beta'] as const;
export type HostName = (typeof hostNames)[number];
export const addressOf = (name: HostName) => `10.98.0.${hostNames.indexOf(name) + 1}`;

const corosync = `totem {
  version: 2
  cluster_name: colo
  transport: knet
  token: 3000
}
nodelist {
${hostNames
  .map(
    (name, n) => `  node {
    ring0_addr: ${addressOf(name)}
    name: ${name}
    nodeid: ${n + 1}
  }`,
  )
  .join('\n')}
}
quorum {
  provider: corosync_votequorum
  two_node: 1
}
logging {
  to_stderr: yes
}
`;

/** In place of fence_legacy: whoever holds the hosts pulls the plug, and says when it is out. */
const fencing = (dir: string) => `#!/bin/sh
while read -r line; do case $line in action=*|nodename=*|port=*) eval "\${line%%=*}='\${line#*=}'";; esac; done
[ "$2" = metadata ] && action=metadata
case $action in
metadata) cat <<X
<?xml version="1.0"?>
<resource-agent name="fence_legacy"><longdesc>plug</longdesc><parameters>
<parameter name="port" required="0"><content type="string"/><shortdesc>host</shortdesc></parameter>
</parameters><actions><action name="off"/><action name="reboot"/><action name="monitor"/>
<action name="list"/><action name="metadata"/></actions></resource-agent>
X
;;
off|reboot)
  name=\${port:-$nodename}; rm -f ${dir}/$name.off; : > ${dir}/$name.fence
  for n in $(seq 150); do [ -e ${dir}/$name.off ] && exit 0; sleep 0.1; done; exit 1 ;;
esac
`;

/** Beside everything that a host changes lie its own files; nothing of this machine is touched. */
const boot = (dir: string) => `set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname $1
for place in /run /dev/shm /etc/corosync /var/lib/corosync /usr/lib/ocf/resource.d; do
  mount -t tmpfs tmpfs $place
done
cp -a /var/lib/pacemaker /run/pacemaker-lib
mount --bind /run/pacemaker-lib /var/lib/pacemaker
mkdir -p ${dir}/$1/pacemaker /run/crm /usr/lib/ocf/resource.d/colo
mount --bind ${dir}/$1 /var/log
chown hacluster:haclient /var/log/pacemaker /run/crm
cp ${dir}/corosync.conf /etc/corosync/
ln -s ${root}/packaging/ocf/vm /usr/lib/ocf/resource.d/colo/vm
mount --bind ${dir}/fence /usr/sbin/fence_legacy
ip link set lo up
until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
corosync -f &
until corosync-cpgtool >/dev/null 2>&1; do sleep 0.2; done
exec pacemakerd
`;

export class Hosts {
  private readonly running = new Map<HostName, ChildProcess>();
  private readonly plug: NodeJS.Timeout;

  /** dir: of a run, which the hosts share. */
  constructor(readonly dir: string) {
    writeFileSync(join(dir, 'corosync.conf'), corosync);
    writeFileSync(join(dir, 'fence'), fencing(dir));
    writeFileSync(join(dir, 'boot'), boot(dir));
    chmodSync(join(dir, 'fence'), 0o755);
    this.plug = setInterval(() => this.pull(), 100);
  }

  start(name: HostName): void {
    const log = openSync(join(this.dir, `${name}.log`), 'a');
    const flags = ['--mount', '--uts', '--ipc', '--net', '--pid', '--fork', '--kill-child'];
    const child = spawn('unshare', [...flags, 'bash', join(this.dir, 'boot'), name], {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'] },
    });
    this.running.set(name, child);
  }

  /** A wire between both, of which nothing is left on this machine. */
  async wire(): Promise<void> {
    const [one, other] = await Promise.all(hostNames.map(name => this.first(name)));
    const link = ['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0'];
    execFileSync('nsenter', ['-t', String(one), '-n', ...link, 'netns', String(other)]);
    for (const name of hostNames) {
      await this.run(name, 'ip', 'addr', 'add', `${addressOf(name)}/24`, 'dev', 'eth0');
      await this.run(name, 'ip', 'link', 'set', 'eth0', 'up');
    }
  }

  /** As if its power were gone. */
  async lose(name: HostName): Promise<void> {
    const child = this.running.get(name);
    if (!child) return;
    this.running.delete(name);
    const gone = new Promise(resolve => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  async run(name: HostName, ...words: string[]): Promise<string> {
    const enter = ['-t', String(await this.first(name)), '-m', '-u', '-i', '-n', '-p'];
    return execFileSync('nsenter', [...enter, ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 30_000,
    });
  }

  async end(): Promise<void> {
    clearInterval(this.plug);
    for (const name of hostNames) await this.lose(name);
  }

  /** Its first process, as this machine counts. */
  private async first(name: HostName): Promise<number> {
    const pid = this.running.get(name)?.pid;
    for (let n = 0; n < 100; n++) {
      const path = `/proc/${pid}/task/${pid}/children`;
      const [child] = existsSync(path) ? readFileSync(path, 'utf8').split(' ') : [];
      if (child) return Number(child);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
    throw new Error(`host ${name} did not start: ${join(this.dir, `${name}.log`)}`);
  }

  private pull(): void {
    for (const name of hostNames) {
      const order = join(this.dir, `${name}.fence`);
      if (!existsSync(order)) continue;
      rmSync(order);
      void this.lose(name).then(() => writeFileSync(join(this.dir, `${name}.off`), ''));
    }
  }
}
