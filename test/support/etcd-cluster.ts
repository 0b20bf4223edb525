/** An etcd of several members on loopback, each a process that can be killed and paused. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { makeX509 } from './tls-files.js';

export const etcdInstalled = spawnSync('etcd', ['--version']).status === 0;

export class EtcdCluster {
  private readonly processes: (ChildProcess | undefined)[] = [];

  private constructor(
    private readonly dir: string,
    readonly endpoints: readonly string[],
    private readonly peers: readonly string[],
    /** Certificates as loadX509 finds them; undefined: without TLS. */
    readonly tls: string | undefined,
  ) {}

  /** host: an address of this network namespace. */
  static async start(
    members: number,
    { tls = false, host = '127.0.0.1' } = {},
  ): Promise<EtcdCluster> {
    const dir = mkdtempSync(join(tmpdir(), 'etcd-'));
    const certificates = tls ? makeEtcdCertificates(join(dir, 'tls'), host) : undefined;
    const ports = await freePorts(2 * members, host);
    const scheme = tls ? 'https' : 'http';
    const cluster = new EtcdCluster(
      dir,
      ports.slice(0, members).map(port => `${scheme}://${host}:${port}`),
      ports.slice(members).map(port => `http://${host}:${port}`),
      certificates,
    );
    for (let n = 0; n < members; n++) cluster.run(n);
    return cluster;
  }

  run(n: number): void {
    const [client, peer] = [this.endpoints[n], this.peers[n]];
    const members = this.peers.map((url, i) => `m${i}=${url}`).join(',');
    const { tls } = this;
    const secure = tls && [
      ...['--cert-file', join(tls, 'etcd-cert.pem'), '--key-file', join(tls, 'etcd-key.pem')],
      ...['--trusted-ca-file', join(tls, 'ca-cert.pem'), '--client-cert-auth'],
    ];
    this.processes[n] = spawn(
      'etcd',
      [
        ...['--name', `m${n}`, '--data-dir', join(this.dir, `m${n}`), '--log-level', 'fatal'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...[
          '--initial-cluster',
          members,
          '--heartbeat-interval',
          '50',
          '--election-timeout',
          '500',
        ],
        ...(secure ?? []),
      ],
      { stdio: 'ignore' },
    );
  }

  signal(n: number, signal: NodeJS.Signals): void {
    this.processes[n]?.kill(signal);
  }

  async kill(n: number): Promise<void> {
    const child = this.processes[n];
    this.processes[n] = undefined;
    if (!child || child.exitCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'close');
  }

  async dispose(): Promise<void> {
    await Promise.all(this.processes.map((_, n) => this.kill(n)));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Until it goes, at most for a minute. */
export async function untilDone<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await wait(100);
    }
  }
}

/** etcd's gateway asks etcd itself, and shows the server's certificate as a client's. */
function makeEtcdCertificates(dir: string, host: string): string {
  makeX509(dir);
  const at = (name: string) => join(dir, name);
  const tool = (...args: string[]) => execFileSync('certtool', args, { stdio: 'ignore' });
  writeFileSync(
    at('etcd.txt'),
    `cn = localhost\ndns_name = localhost\nip_address = ${host}\ntls_www_server\n` +
      'tls_www_client\nencryption_key\nsigning_key\nexpiration_days = 3650\n',
  );
  tool('--generate-privkey', '--key-type', 'ecdsa', '--outfile', at('etcd-key.pem'));
  const ca = ['--load-ca-certificate', at('ca-cert.pem'), '--load-ca-privkey', at('ca-key.pem')];
  const own = ['--load-privkey', at('etcd-key.pem'), '--template', at('etcd.txt')];
  tool('--generate-certificate', ...ca, ...own, '--outfile', at('etcd-cert.pem'));
  return dir;
}

async function freePorts(count: number, host: string): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, host));
  await Promise.all(servers.map(server => once(server, 'listening')));
  const ports = servers.map(server => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(server => once(server.close(), 'close')));
  return ports;
}
