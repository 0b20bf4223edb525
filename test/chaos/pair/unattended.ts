/**
 * A pair that nobody looks after: both hosts with their supervisors, an etcd of three members, a
 * client that counts over one connection as long as all of this lives, and what is asked of them.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArbiterAddress } from '../../../src/arbiter/address.js';
import type { Arbiter } from '../../../src/arbiter/contract.js';
import { openArbiter } from '../../../src/arbiter/open.js';
import type { ArbiterRecord } from '../../../src/arbiter/record.js';
import { nodeHost } from '../../../src/host/node/host.js';
import { loadX509 } from '../../../src/host/tls-creds.js';
import { CountingClient } from '../../demo/client.js';
import { proveRecords } from '../../demo/records.js';
import type { GuestImage } from '../../guest/build.js';
import { EtcdCluster, untilDone } from '../../support/etcd-cluster.js';
import {
  addressOf,
  arbiterHost,
  guestAt,
  type HostName,
  hostNames,
  NamespacedHost,
  otherHost,
  vmName,
} from './hosts.js';
import { OwnerHistory } from './owner-history.js';
import { AnswerProbe, judgeAnswers, noAnswers } from './probe.js';

const MEMBERS = 3;
const KEY = 'colo/web';
const BOOT_MS = 120_000;
const POLL_MS = 100;
/** Of the client, when all is well again. */
const ANSWERS = 10;
const ANSWER_MS = 20_000;
/** Each is one more than it was; the etcd may be without a leader for a moment. */
const ARBITER_MS = 3000;
/** Records of the guest's that its image has room for, with some to spare. */
const RECORDS_MAX = 60_000;
const IMAGE_MIB = 32;

export class UnattendedPair {
  readonly hosts: Readonly<Record<HostName, NamespacedHost>>;
  readonly file: string;
  private readonly client = new CountingClient();
  private readonly probe = new AnswerProbe();
  private readonly answers = noAnswers();

  private constructor(
    readonly dir: string,
    hosts: Readonly<Record<HostName, NamespacedHost>>,
    readonly etcd: EtcdCluster,
    private readonly arbiter: Arbiter,
    private readonly history: OwnerHistory,
  ) {
    this.hosts = hosts;
    this.file = join(dir, 'web.yaml');
  }

  /** Protected, and the client counts. */
  static async start(dir: string, guest: GuestImage): Promise<UnattendedPair> {
    const etcd = await EtcdCluster.start(MEMBERS, { tls: true, host: arbiterHost });
    const made: NamespacedHost[] = [];
    try {
      for (const name of hostNames) made.push(new NamespacedHost(name, dir));
      const [a, b] = made;
      for (const host of made) await host.ready();
      NamespacedHost.join(a, b);
      const { endpoints, tls } = etcd;
      const address = `etcd:${endpoints.join(',')},key=${KEY},tls=${tls}`;
      const host = nodeHost();
      const seat = parseArbiterAddress(`${address},timeout=${ARBITER_MS}`);
      const arbiter = await openArbiter(seat, host);
      await untilDone(() => arbiter.read());
      const client = { dir: tls!, endpoint: 'client', verifyPeer: true } as const;
      const credentials = await loadX509(host.files, client);
      const history = new OwnerHistory(host.http, endpoints, KEY, credentials);
      const pair = new UnattendedPair(dir, { a, b }, etcd, arbiter, history);
      writeFileSync(pair.file, definition(dir, guest, address));
      for (const host of made) host.start(pair.file);
      const up = pair.client
        .start(guestAt.guest, guestAt.port, BOOT_MS)
        .then(() => pair.untilProtected(BOOT_MS));
      up.catch(() => undefined);
      const over = Promise.race(made.map(({ supervisorGone }) => supervisorGone));
      await Promise.race([up, over.then(how => Promise.reject(new Error(how)))]);
      return pair;
    } catch (thrown) {
      const words = made.map(host => `--- ${host.name}\n${host.lastWords}`);
      await Promise.all(made.map(host => host.dispose()));
      await etcd.dispose();
      throw new Error([(thrown as Error).message, ...words].join('\n'), { cause: thrown });
    }
  }

  /** undefined: there is none, or it cannot be had now. */
  async record(): Promise<ArbiterRecord | undefined> {
    const held = await this.arbiter.read().catch(() => undefined);
    return held?.record;
  }

  /** Who has the guest, by the arbiter's word. */
  async owner(): Promise<HostName | undefined> {
    const record = await this.record();
    return hostNames.find(name => vmName(name) === record?.owner);
  }

  /** How often the record has changed its owner so far: etcd knows all that it has held. */
  async ownerChanges(): Promise<number> {
    const owners = await untilDone(() => this.history.owners());
    return owners.filter((owner, n) => n > 0 && owner !== owners[n - 1]).length;
  }

  /** By both sides' own word and the arbiter's. Error: not within the time, and how they stand. */
  async untilProtected(limitMs: number): Promise<{ owner: HostName; tookMs: number }> {
    const began = performance.now();
    for (;;) {
      const [owner, record] = [await this.owner(), await this.record()];
      const lines = await Promise.all(hostNames.map(name => this.hosts[name].look()));
      const tookMs = Math.round(performance.now() - began);
      const stands = (name: HostName) => lines[hostNames.indexOf(name)];
      const whole =
        owner !== undefined &&
        record?.inStep === true &&
        stands(owner)?.role === 'primary' &&
        stands(owner)?.state === 'running' &&
        lines.every(line => line?.pair === 'protected');
      if (whole) return { owner, tookMs };
      if (tookMs > limitMs) {
        const told = lines.map(line =>
          line ? `${line.name} ${line.role} ${line.state} ${line.pair}` : 'no answer',
        );
        const said = record ? `${record.owner}, term ${record.term}, ${record.inStep}` : 'nothing';
        throw new Error(
          `not protected within ${limitMs} ms: ${told.join('; ')}; the arbiter: ${said}`,
        );
      }
      await pause(POLL_MS);
    }
  }

  /** What is wrong now that it is protected again; nothing is under way. */
  async judge(owner: HostName, handoversMax: number): Promise<string[]> {
    const wrong: string[] = [];
    await this.client
      .answers(ANSWERS, ANSWER_MS)
      .catch((error: Error) => wrong.push(error.message));
    const { report } = this.client;
    if (report.error) wrong.push(`the connection ended: ${report.error}`);
    if (report.gaps + report.repeats > 0)
      wrong.push(`the client saw ${report.gaps} gaps and ${report.repeats} repeats`);
    if (report.memoryErrors > 0) wrong.push(`${report.memoryErrors} memory errors in the guest`);
    const told = report.recordsTold;
    for (const name of [owner, otherHost(owner)]) {
      const { proven, firstBad } = proveRecords(this.hosts[name].fromOutside('web.img'), told);
      if (proven !== told)
        wrong.push(`record ${firstBad} of ${told} is not in the image of ${name}`);
    }
    const before = this.answers.handovers;
    wrong.push(...judgeAnswers(this.answers, this.probe.take()));
    const handovers = this.answers.handovers - before;
    if (handovers > handoversMax)
      wrong.push(`${handovers} changes of the side that answers, ${handoversMax} of the arbiter's`);
    if (this.answers.side !== undefined && this.answers.side !== owner)
      wrong.push(`side ${this.answers.side} answers, and ${owner} owns the guest`);
    return wrong;
  }

  /** Of a pair that is not protected: what can be said all the same. */
  wrongSoFar(): string[] {
    const { error, gaps, repeats } = this.client.report;
    const told = error === undefined ? [] : [`the connection ended: ${error}`];
    const counted = gaps + repeats > 0 ? [`the client saw ${gaps} gaps, ${repeats} repeats`] : [];
    return [...told, ...counted, ...judgeAnswers(this.answers, this.probe.take())];
  }

  get recordsTold(): number {
    return this.client.report.recordsTold;
  }

  get outageMs(): number {
    return Math.round(this.client.report.outageMs);
  }

  /** Waits of the client count from here. */
  mark(): void {
    this.client.report.outageMs = 0;
    this.client.markKill();
  }

  /** The guest's disk is nearly full of records: another pair has to take its place. */
  get isWorn(): boolean {
    return this.recordsTold > RECORDS_MAX;
  }

  async dispose({ keep }: { keep: boolean }): Promise<void> {
    this.client.stop();
    await Promise.all(hostNames.map(name => this.hosts[name].dispose()));
    this.probe.dispose();
    this.arbiter.dispose();
    await this.etcd.dispose();
    if (!keep) rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The same file on both hosts. */
function definition(dir: string, { kernel, initrd }: GuestImage, arbiter: string): string {
  const at = (name: HostName) =>
    `{migration: "tcp:${addressOf.migration[name]}:8888", ` +
    `nbd: "tcp:${addressOf.nbd[name]}:8889"}`;
  const side = (name: HostName) =>
    `{name: ${vmName(name)}, serial: "file:${join(dir, name, 'console')}"}`;
  const image = (name: HostName) => join(dir, name, 'disk/web.img');
  const append =
    `console=ttyS0 quiet cryptomgr.notests colo.ip=${guestAt.guest} colo.port=${guestAt.port} ` +
    'colo.writers=2 colo.pace=40000 colo.pages=256 colo.dirty=150';
  const lines = [
    'name: web',
    'memory: 96M',
    'accel: soft',
    `kernel: ${kernel}`,
    `initrd: ${initrd}`,
    `append: "${append}"`,
    'checkpoint-delay: 50',
    'insecure: true',
    `back: ${at('a')}`,
    `peer: ${at('b')}`,
    `arbiter: "${arbiter}"`,
    `disks: [{primary: ${image('a')}, secondary: ${image('b')}, size: ${IMAGE_MIB}M}]`,
    'network: [{primary: tap0, secondary: tap0}]',
    `primary: ${side('a')}`,
    `secondary: ${side('b')}`,
  ];
  return `${lines.join('\n')}\n`;
}
