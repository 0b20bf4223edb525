/**
 * `npm run procedure [-- --lost primary|secondary] [--accel kvm] [--keep]`: the procedure of the
 * mail, word for word (lines.ts), between two hosts, with a guest that GRUB boots from its disk. A
 * TCP client and a viewer of its screen are there before and after. Proofs: the client's one
 * connection, every record that it was told of in the survivor's image, and the picture.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, copyFileSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { NodeSockets } from '../../src/host/node/sockets.js';
import { CountingClient } from '../demo/client.js';
import { CannotRun, makeRunFolder } from '../demo/folder.js';
import { enterNamespace, startedAt } from '../demo/network.js';
import { colo } from '../demo/pair.js';
import { Qmp } from '../demo/qmp.js';
import { proveRecords } from '../demo/records.js';
import { guestImage, prepareGuest } from '../guest/build.js';
import { dataStart, makeGrubDisk } from '../guest/grub-disk.js';
import { progress } from '../guest/kernel.js';
import { RfbClient } from '../support/rfb-client.js';
import { addressOf, buildSwitch, guest, Host, type Side } from './hosts.js';
import {
  afterPrimary,
  afterSecondary,
  type Images,
  primaryLine,
  primaryOrders,
  secondaryLine,
  secondaryOrders,
} from './lines.js';

const LIMIT_MS = 240_000;
const QUIT_MS = 30_000;
const ANSWERS = 50;
const append =
  'console=ttyS0 console=tty0 quiet cryptomgr.notests colo.part=2 ' +
  `colo.ip=${guest.host} colo.port=${guest.port}`;
const began = startedAt() - performance.timeOrigin;
const tell = (what: string) =>
  console.log(`${((performance.now() - began) / 1000).toFixed(2).padStart(7)} s  ${what}`);

/** One of both, as a user of the mail has it: a terminal that speaks QMP. */
class Machine {
  readonly process;
  readonly qmp: Qmp;
  private readonly exited: Promise<unknown>;
  private readonly log: string;

  constructor(host: Host, side: Side, dir: string, line: string[]) {
    this.log = join(dir, `${side}.log`);
    const log = openSync(this.log, 'w');
    const env = { ...process.env, NODE_OPTIONS: '', XDG_RUNTIME_DIR: dir };
    this.process = host.start([process.execPath, colo, side, ...line], env, log);
    closeSync(log);
    this.exited = once(this.process, 'exit');
    this.qmp = new Qmp(this.process.stdout!, this.process.stdin!);
  }

  async type(lines: readonly string[]): Promise<void> {
    for (const line of lines) {
      const answer = await this.qmp.line(line, line, LIMIT_MS);
      // Errors of a line of the human monitor are text.
      const text = typeof answer === 'string' ? answer.trim() : '';
      if (text !== '' && text !== 'OK') throw new Error(`${line}: ${text}`);
    }
  }

  async quit(): Promise<void> {
    await this.qmp.execute('quit').catch(() => undefined);
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error('quit: it has not ended')), QUIT_MS).unref();
    });
    await Promise.race([this.exited, late]);
  }

  get said(): string {
    return readFileSync(this.log, 'utf8').trim().split('\n').slice(-10).join('\n');
  }
}

async function picture(host: string): Promise<Uint32Array> {
  const viewer = new RfbClient(
    await new NodeSockets().connect({ kind: 'tcp', host, port: 5907 }, { timeoutMs: 10_000 }),
  );
  await viewer.open();
  await viewer.encodings(0);
  await viewer.request(false);
  await viewer.update();
  viewer.stream.destroy();
  return viewer.pixels;
}

/** Share of the pixels that are the same; a cursor may blink. */
function alike(a: Uint32Array, b: Uint32Array): number {
  if (a.length !== b.length) return 0;
  return a.reduce((same, pixel, at) => same + (pixel === b[at] ? 1 : 0), 0) / a.length;
}

function makeImages(dir: string): { primary: Images; secondary: Images } {
  const of = (side: Side) => {
    const [image, active, hidden] = ['img', 'active', 'hidden'].map(x => join(dir, `${side}.${x}`));
    return { image, active, hidden };
  };
  const [primary, secondary] = [of('primary'), of('secondary')];
  makeGrubDisk(primary.image, { guest: guestImage(), append }, dir);
  copyFileSync(primary.image, secondary.image);
  const bytes = String(readFileSync(primary.image).length);
  for (const overlay of [secondary.active, secondary.hidden]) {
    const words = ['image', 'create', '-f', 'qcow2', overlay, bytes];
    const { status, stderr } = spawnSync(process.execPath, [colo, ...words], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`colo ${words.join(' ')}: ${stderr}`);
  }
  return { primary, secondary };
}

async function untilProtected({ qmp }: Machine): Promise<void> {
  for (const end = performance.now() + LIMIT_MS; performance.now() < end;) {
    const vm = (await qmp.execute('query-vm')) as { protected: boolean };
    if (vm.protected) return;
    const { 'error-desc': why } = (await qmp.execute('query-migrate')) as { 'error-desc'?: string };
    if (why !== undefined) throw new Error(why);
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  throw new Error(`not protected after ${LIMIT_MS} ms`);
}

async function trial(lost: Side, accel: string, dir: string): Promise<void> {
  const images = makeImages(dir);
  tell('a disk with GRUB in its MBR, twice');
  const hosts = { primary: new Host('primary'), secondary: new Host('secondary') };
  const started: Machine[] = [];
  const client = new CountingClient();
  const start = (side: Side, line: string[]) => {
    const machine = new Machine(hosts[side], side, dir, line);
    started.push(machine);
    return machine;
  };
  try {
    for (const host of Object.values(hosts)) await host.ready();
    const secondary = start('secondary', secondaryLine(accel, images.secondary));
    const primary = start('primary', primaryLine(accel, images.primary));
    await secondary.type(secondaryOrders);
    await client.start(guest.host, guest.port, LIMIT_MS);
    const before = await picture(addressOf.primary);
    tell('GRUB has booted the guest from its disk; a client and a viewer are there');
    await primary.type(primaryOrders);
    await untilProtected(primary);
    await client.answers(ANSWERS, LIMIT_MS);
    tell('in COLO by the orders of the mail');
    const [victim, survivor] = lost === 'primary' ? [primary, secondary] : [secondary, primary];
    const exit = survivor.qmp.event('COLO_EXIT', LIMIT_MS);
    victim.process.kill('SIGKILL');
    client.markKill();
    await exit;
    await survivor.type(lost === 'primary' ? afterPrimary : afterSecondary);
    await client.answers(ANSWERS, LIMIT_MS);
    const side = lost === 'primary' ? 'secondary' : 'primary';
    const same = alike(before, await picture(addressOf[side]));
    const ms = client.report.outageMs.toFixed();
    tell(`the ${lost} is lost; the same connection goes on after ${ms} ms`);
    client.stop();
    await survivor.quit();
    prove(client, images[side].image, { before, same });
  } catch (error) {
    throw new Error([(error as Error).message, ...started.map(({ said }) => said)].join('\n'), {
      cause: error,
    });
  } finally {
    client.stop();
    for (const { process } of started) process.kill('SIGKILL');
    for (const host of Object.values(hosts)) host.dispose();
  }
}

function prove(
  { report }: CountingClient,
  image: string,
  screen: { before: Uint32Array; same: number },
): void {
  const { answers, gaps, repeats, memoryErrors, recordsTold, error } = report;
  const { proven, firstBad } = proveRecords(image, recordsTold, dataStart);
  const drawn = new Set(screen.before).size > 1;
  if (error !== undefined || gaps + repeats + memoryErrors > 0)
    throw new Error(`the connection: ${error ?? JSON.stringify(report)}`);
  if (recordsTold === 0 || proven < recordsTold)
    throw new Error(`record ${firstBad} of ${recordsTold} is not in ${image}`);
  if (!drawn || screen.same < 0.99)
    throw new Error(`the viewer sees another picture: ${screen.same} of it is the same`);
  tell(`${answers} answers, ${proven} records, the same picture: nothing was lost`);
}

const { values } = parseArgs({
  options: {
    lost: { type: 'string' },
    accel: { type: 'string', default: 'soft' },
    keep: { type: 'boolean', default: false },
  },
});
let dir = '';
try {
  const { lost } = values;
  const sides = (['primary', 'secondary'] as const).filter(side => (lost ?? side) === side);
  if (sides.length === 0) throw new CannotRun(`--lost ${lost}: primary or secondary`);
  await enterNamespace(() => prepareGuest({}, progress(process.stderr, console.error)));
  buildSwitch();
  const accel = values.accel === 'kvm' ? '-enable-kvm' : `-accel ${values.accel}`;
  for (const side of sides) {
    dir = makeRunFolder('colo-procedure-');
    await trial(side, accel, dir);
    if (!values.keep) rmSync(dir, { recursive: true });
  }
} catch (error) {
  console.error(`procedure: ${(error as Error).message}${dir === '' ? '' : `\n(see ${dir})`}`);
  process.exitCode = error instanceof CannotRun ? 2 : 1;
}
