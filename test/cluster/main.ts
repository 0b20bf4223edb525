/**
 * `npm run test:cluster [-- --keep]`: `ocf:colo:vm` under Debian's Pacemaker and corosync, with
 * fencing, on two hosts in namespaces. Each step takes something away and waits until the cluster
 * has a promoted instance and one in step again; 4 minutes on a quiet machine. Needs root, and
 * apt-get install pacemaker pacemaker-cli-utils corosync resource-agents.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fakeKernel } from '../support/fake-kernel.js';
import { Assembler } from '../support/toy-guest.js';
import { addressOf, type HostName, hostNames, Hosts } from './hosts.js';

const LIMIT_MS = 180_000;
const began = performance.now();
const say = (text: string) =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${text}`);

interface Standing {
  promoted: HostName | undefined;
  inStep: HostName | undefined;
}

class Cluster {
  readonly file: string;

  constructor(private readonly hosts: Hosts) {
    const { dir } = hosts;
    const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
    writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
    const at = (name: HostName) =>
      `{migration: "tcp:${addressOf(name)}:8888", nbd: "tcp:${addressOf(name)}:8889"}`;
    this.file = join(dir, 'toy.yaml');
    writeFileSync(
      this.file,
      `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\npeer: ${at('beta')}\n` +
        `back: ${at('alpha')}\ndisks: [{primary: a.img, secondary: b.img, size: 4M}]\n`,
    );
  }

  async form(): Promise<void> {
    for (const name of hostNames) this.hosts.start(name);
    await this.hosts.wire();
    const online = /<node [^>]*online="true"/g;
    await this.until('both hosts are members', xml => xml.match(online)?.length === 2);
    const resources = join(this.hosts.dir, 'resources.xml');
    writeFileSync(resources, this.resources());
    await this.hosts.run('alpha', 'cibadmin', '--replace', '-o', 'resources', '-x', resources);
  }

  /** Until one has the guest and the other could take it. */
  async whole(): Promise<{ promoted: HostName; inStep: HostName }> {
    let now: Standing = { promoted: undefined, inStep: undefined };
    await this.until('promoted, and in step', xml => {
      now = standing(xml);
      return now.promoted !== undefined && now.inStep !== undefined;
    });
    return now as { promoted: HostName; inStep: HostName };
  }

  async until(what: string, holds: (xml: string) => boolean): Promise<void> {
    const end = performance.now() + LIMIT_MS;
    let xml = '';
    while (performance.now() < end) {
      xml = await this.look();
      if (holds(xml)) return;
      await new Promise(resolve => setTimeout(resolve, 500));
    }
    throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}\n${xml}`);
  }

  /** By a host that answers. */
  private async look(): Promise<string> {
    for (const name of hostNames) {
      const words = ['crm_mon', '--one-shot', '--inactive', '-A', '--output-as=xml'];
      const xml = await this.hosts.run(name, ...words).catch(() => '');
      if (xml.includes('with_quorum="true"')) return xml;
    }
    return '';
  }

  vm = (host: HostName) => (host === 'alpha' ? 'toy-primary' : 'toy-secondary');

  async kill(host: HostName): Promise<void> {
    await this.hosts.run(host, 'sh', '-c', 'kill -9 $(cat /run/colo/ocf-toy.pid)');
  }

  /** How often a guest has gone on there alone, and how often one was started from its disk. */
  async told(host: HostName): Promise<{ wentOn: number; started: number }> {
    const log = await this.hosts.run(host, 'cat', '/var/log/colo-toy.log').catch(() => '');
    return {
      wentOn: log.split('the guest goes on here').length - 1,
      started: log.split('colo primary: protected by').length - 1,
    };
  }

  private resources(): string {
    const pairs = (id: string, given: Record<string, string>) =>
      Object.entries(given)
        .map(([name, value]) => `<nvpair id="${id}-${name}" name="${name}" value="${value}"/>`)
        .join('');
    const times = { start: 60, stop: 90, promote: 90, demote: 90, notify: 60 };
    const once = Object.entries(times).map(
      ([name, s]) => `<op id="o-${name}" name="${name}" interval="0" timeout="${s}s"/>`,
    );
    const monitor = (role: string, every: number) =>
      `<op id="o-${role}" name="monitor" role="${role}" interval="${every}s" timeout="60s"/>`;
    const meta = { promotable: 'true', 'promoted-max': '1', 'clone-max': '2', notify: 'true' };
    return `<resources>
<primitive id="plug" class="stonith" type="fence_legacy"><instance_attributes id="plug-i">
${pairs('plug', { pcmk_host_list: hostNames.join(' ') })}</instance_attributes></primitive>
<clone id="toy-clone"><meta_attributes id="toy-m">${pairs('toy-m', meta)}</meta_attributes>
<primitive id="toy" class="ocf" provider="colo" type="vm"><instance_attributes id="toy-i">
${pairs('toy-i', { file: this.file })}</instance_attributes><operations>
${once.join('')}${monitor('Promoted', 4)}${monitor('Unpromoted', 7)}</operations></primitive>
</clone></resources>`;
  }
}

function standing(xml: string): Standing {
  const score = (name: HostName) =>
    new RegExp(
      `<node name="${name}">\\s*(?:<attribute [^>]*>\\s*)*?` +
        '<attribute name="master-toy" value="(\\d+)"',
    ).exec(xml)?.[1];
  const has = (name: HostName, role: string) =>
    [...xml.matchAll(/<resource id="toy[^>]* role="(\w+)"[^>]*>\s*<node name="(\w+)"/g)].some(
      ([, is, at]) => is === role && at === name,
    );
  const promoted = hostNames.find(name => has(name, 'Promoted') && score(name) === '100');
  const inStep = hostNames.find(name => has(name, 'Unpromoted') && score(name) === '50');
  return { promoted, inStep };
}

type Step = (
  cluster: Cluster,
  hosts: Hosts,
  at: { promoted: HostName; inStep: HostName },
) => Promise<void>;

/** moves: the guest is on the other host afterwards. */
const steps: readonly { name: string; moves: boolean; run: Step }[] = [
  {
    name: 'kill -9 of the promoted VM',
    moves: true,
    run: (c, _, { promoted }) => c.kill(promoted),
  },
  { name: 'kill -9 of the unpromoted VM', moves: false, run: (c, _, { inStep }) => c.kill(inStep) },
  {
    name: 'the connection of the VMs is cut, the cluster is whole',
    moves: false,
    run: async (_, hosts, { promoted }) =>
      void (await hosts.run(promoted, 'ss', '-K', 'dport', '=', '8888')),
  },
  {
    name: 'the promoted host is lost, and comes back',
    moves: true,
    run: async (cluster, hosts, { promoted, inStep }) => {
      await hosts.lose(promoted);
      await cluster.until('the other is promoted', xml => standing(xml).promoted === inStep);
      say(`  ${inStep} has the guest`);
      hosts.start(promoted);
      await hosts.wire();
    },
  },
  {
    name: 'the unpromoted host is lost, and comes back',
    moves: false,
    run: async (cluster, hosts, { inStep }) => {
      await hosts.lose(inStep);
      await cluster.until('its host is fenced', xml => standing(xml).inStep === undefined);
      hosts.start(inStep);
      await hosts.wire();
    },
  },
  {
    name: 'a planned move',
    moves: true,
    run: async (cluster, hosts, { promoted, inStep }) => {
      const about = ['-r', 'toy-clone', '--promoted', '-N', promoted];
      await hosts.run(inStep, 'crm_resource', '--ban', ...about);
      await cluster.until('it has moved', xml => standing(xml).promoted === inStep);
      await hosts.run(inStep, 'crm_resource', '--clear', '-r', 'toy-clone');
    },
  },
];

async function prove(hosts: Hosts): Promise<void> {
  const cluster = new Cluster(hosts);
  await cluster.form();
  say('two members with quorum');
  let at = await cluster.whole();
  say(`formed: ${at.promoted} is promoted, ${at.inStep} in step`);
  for (const { name, moves, run } of steps) {
    const survivor = moves ? at.inStep : at.promoted;
    const before = await cluster.told(survivor);
    const from = performance.now();
    say(name);
    await run(cluster, hosts, at);
    await cluster.until('something has changed', () => performance.now() - from > 10_000);
    const now = await cluster.whole();
    const { wentOn, started } = await cluster.told(survivor);
    say(`  ${now.promoted} is promoted, ${now.inStep} in step`);
    if (now.promoted !== survivor) throw new Error(`${survivor} should have the guest`);
    if (wentOn !== before.wentOn + 1 || started !== before.started)
      throw new Error(`the guest has not gone on there: ${wentOn - before.wentOn} times`);
    at = now;
  }
}

const tools = ['/usr/sbin/corosync', '/usr/sbin/pacemakerd', '/usr/sbin/crm_resource'];
const missing = tools.filter(path => !existsSync(path));
if (missing.length > 0 || process.getuid?.() !== 0) {
  console.error(`root is needed, and ${tools.join(', ')}: see test/cluster/main.ts`);
  process.exit(1);
}
const dir = mkdtempSync(join(tmpdir(), 'colo-cluster-'));
chmodSync(dir, 0o755); // Pacemaker's daemons are not root
const hosts = new Hosts(dir);
let failed = false;
try {
  await prove(hosts);
  say('all of it held');
} catch (error) {
  failed = true;
  console.error(String(error));
  for (const name of hostNames)
    console.error(
      readFileSync(join(dir, `${name}.log`), 'utf8')
        .split('\n')
        .slice(-10)
        .join('\n'),
    );
} finally {
  await hosts.end();
  if (process.argv.includes('--keep') || failed) console.error(`kept: ${dir}`);
  else rmSync(dir, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
