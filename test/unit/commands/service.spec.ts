/**
 * Goal: a service manager hears what is so: ready once a VM answers, each step, and a sign of life
 * only from a loop that goes round. Method: time that moves when told and a manager that writes
 * down; then `colo run` under a socket that plays systemd, with a VM, and with a loop that is stuck
 * for good (skipped by name where the addon is not built).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmError } from '../../../src/base/errors.js';
import { Service } from '../../../src/commands/pair/service.js';
import type { SupervisedSide } from '../../../src/commands/pair/supervisor.js';
import { vmLine } from '../../../src/commands/survey.js';
import { addonBuilt, colo, ColoProcess } from '../../support/colo-process.js';
import { BenchClock } from '../../support/device-bench.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { FakeVm } from '../../support/fake-vm.js';
import { NotifySocket } from '../../support/notify-socket.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const vm = vmLine('toy', { role: 'primary', pair: 'alone', status: 'running', pid: 7 });

function bench(watchdogMs?: number) {
  const clock = new BenchClock(new FakeVm());
  const heard: string[] = [];
  const notes: string[] = [];
  const manager = {
    watchdogMs,
    deaf: false,
    notify(lines: string) {
      if (this.deaf) throw new VmError('nobody is there');
      heard.push(lines);
    },
  };
  const service = new Service({ manager, clock, note: line => notes.push(line) });
  return { clock, heard, notes, manager, service };
}

test('ready is who has a VM that answers; what was not heard is said again', () => {
  const { clock, heard, notes, manager, service } = bench();
  service.tell({ event: 'started', role: 'primary', why: 'x' }, 'x:\n  starts');
  service.tell({ event: 'stands', vm: { ...vm, state: 'not answering' } }, 'no answer');
  expect(heard).toEqual(['STATUS=x: starts', 'STATUS=no answer']);
  manager.deaf = true;
  service.tell({ event: 'stands', vm }, 'alone');
  service.tell({ event: 'stands', vm }, 'protected');
  manager.deaf = false;
  clock.advance(1000);
  expect(heard.slice(2)).toEqual(['READY=1\nSTATUS=protected']);
  expect(notes).toEqual(['nobody is there']);
  service.stopping();
  clock.advance(10_000);
  expect(heard.slice(3)).toEqual(['STOPPING=1\nREADY=1\nSTATUS=protected']);
});

test('a loop that hangs gives no sign of life, one that rests does', async () => {
  const { clock, heard, notes, service } = bench(4000);
  let answer: () => void = () => undefined;
  const waits = () => new Promise<undefined>(resolve => (answer = () => resolve(undefined)));
  const side = { side: 'a', look: waits, sleep: waits } as unknown as SupervisedSide;
  const loop = service.watch(side);
  const beats = (ms: number) => {
    heard.length = 0;
    clock.advance(ms);
    return heard.filter(lines => lines === 'WATCHDOG=1').length;
  };
  const rest = loop.sleep(60_000);
  expect(beats(60_000)).toBe(30);
  answer();
  await rest;
  const look = loop.look();
  expect(beats(60_000)).toBe(1); // a round was just made
  expect(notes).toEqual(['no step for 4 s: the service manager starts this again']);
  answer();
  await look;
  expect(beats(2000)).toBe(1);
});

describe('under systemd', () => {
  const dir = mkdtempSync(join(tmpdir(), 'colo-service-'));
  const config = join(dir, 'toy.yaml');
  const env = { XDG_RUNTIME_DIR: dir };
  let supervisor: ColoProcess;
  let systemd: NotifySocket;

  beforeAll(() => {
    const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
    writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
    const at = (name: string) => `{migration: "unix:${dir}/${name}", nbd: "unix:${dir}/${name}n"}`;
    writeFileSync(
      config,
      `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\npeer: ${at('p')}\nback: ${at('b')}\n` +
        'disks: [{primary: p.img, secondary: s.img, size: 4M}]\n',
    );
  });
  beforeEach(async () => {
    systemd = await NotifySocket.open(join(dir, 'notify'));
    supervisor = new ColoProcess(['run', config, '--side', 'a'], {
      env: { ...env, NOTIFY_SOCKET: systemd.name, WATCHDOG_USEC: '2000000' },
    });
  });
  afterEach(() => {
    systemd.close();
    supervisor.child.kill('SIGKILL');
    rmSync(join(dir, 'notify'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  const heard = (line: string, times = 1) =>
    supervisor.until(`${line} to systemd`, () => systemd.count(line) >= times);
  const pidOf = async () => {
    const { out } = await colo(['list', '--json'], { env });
    return (JSON.parse(out) as { pid: number }[])[0]?.pid;
  };

  withAddon(
    'a VM that is there, a watchdog, an end in order (skipped where the addon is not built)',
    async () => {
      await heard('READY=1');
      await heard('STATUS=toy-primary is alone, alone');
      expect(systemd.lines[0]).toBe('STATUS=nothing of this side runs: starts as primary');
      await heard('WATCHDOG=1', 3);
      supervisor.child.kill('SIGTERM');
      expect(await supervisor.exited).toBe(0);
      expect(systemd.lines.slice(-3)).toEqual([
        'STOPPING=1',
        'READY=1',
        'STATUS=ended, as it was told',
      ]);
      expect(await pidOf()).toBeUndefined();
    },
    120_000,
  );

  withAddon(
    'an image that is never opened: the watchdog hears no more (skipped where the addon is not ' +
      'built)',
    async () => {
      await heard('READY=1');
      // Who opens it waits for a writer, as on a server of files that is away.
      rmSync(join(dir, 'p.img'));
      execFileSync('mkfifo', [join(dir, 'p.img')]);
      process.kill((await pidOf())!, 'SIGKILL');
      await supervisor.says('no step for');
      const beats = systemd.count('WATCHDOG=1');
      await new Promise(resolve => setTimeout(resolve, 4000));
      expect(systemd.count('WATCHDOG=1')).toBe(beats);
    },
    120_000,
  );
});
