/**
 * Goal: a KVM that cannot be used is refused by its cause and with a way out, before anything is
 * opened. Method: real devices that are not KVM, a user who may not open one, capabilities that are
 * taken for absent, hosts and CPU models that do not fit.
 */
import { afterEach, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseAccel, detectKvm } from '../../src/accel/choose.js';
import { namesOf } from '../../src/accel/cpu-features.js';
import { vmModule } from '../../src/accel/addon.js';
import type { StateBlob } from '../../src/accel/contract.js';
import { parseCpu } from '../../src/commands/options/cpu.js';
import { Random } from '../support/random.js';
import { Assembler } from '../support/toy-guest.js';
import { build, closeAll, emptyVm, kvm, kvmTest } from './bench.js';

afterEach(closeAll);

const root = fileURLToPath(new URL('../../', import.meta.url));
const nobody = 65_534;

test('no device', () => {
  expect(detectKvm('/nonexistent/kvm')).toEqual({
    kind: 'none',
    reason:
      'there is no /nonexistent/kvm: the processor does not offer virtualization here, or the ' +
      'module kvm_amd or kvm_intel is not loaded',
  });
  expect(() => chooseAccel('kvm', () => detectKvm('/nonexistent/kvm'))).toThrow(
    '-accel kvm: there is no /nonexistent/kvm: ',
  );
  expect(chooseAccel('auto', () => detectKvm('/nonexistent/kvm'))).toMatchObject({
    name: 'soft',
    why: expect.stringContaining('there is no /nonexistent/kvm') as unknown as string,
  });
});

test('a device that is something else', () => {
  expect(detectKvm('/dev/null').reason).toMatch(
    /^\/dev\/null is not KVM \(.+\): make it anew with `mknod \/dev\/null c 10 232`$/,
  );
});

test('a user who may not open it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'colo-kvm-'));
  const device = join(dir, 'kvm');
  writeFileSync(device, '');
  chmodSync(device, 0o600);
  chmodSync(dir, 0o755);
  // The addon is given by its file: a user who may not read this tree could not look for it.
  const addon = createRequire(import.meta.url).resolve('../../native/build/Release/colo.node');
  const copy = join(dir, 'colo.node');
  copyFileSync(addon, copy);
  chmodSync(copy, 0o755);
  const detect = `require(${JSON.stringify(copy)}).vm.detectKvm(${JSON.stringify(device)})`;
  const script = `console.log(${detect}.reason)`;
  if (process.getuid?.() !== 0) chmodSync(device, 0o000);
  const as = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    cwd: '/',
    ...as,
  });
  rmSync(dir, { recursive: true });
  expect(stderr).toBe('');
  expect(stdout.trim()).toBe(
    `${device} may not be opened: permission denied (on Debian, add the user to group kvm)`,
  );
});

kvmTest('a kernel without a capability', () => {
  expect(detectKvm('/dev/kvm', ['KVM_CAP_IMMEDIATE_EXIT'])).toEqual({
    kind: 'none',
    reason: "this kernel's KVM lacks KVM_CAP_IMMEDIATE_EXIT; a newer kernel has it",
  });
  expect(detectKvm('/dev/kvm', []).kind).toBe(kvm.kind);
});

const launch = (...args: string[]) =>
  spawnSync(
    process.execPath,
    [
      join(root, 'bin/run.js'),
      'primary',
      ...args,
      '-kernel',
      '/nonexistent/kernel',
      '-drive',
      'file=/nonexistent/disk,driver=raw',
    ],
    { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  );
const unusable = kvm.kind === 'full' ? test.skip : test;
const why = kvm.kind === 'full' ? " [skipped: this host's KVM is of use]" : '';

unusable(`-enable-kvm fails at once, with the reason, before the disk is looked at${why}`, () => {
  const { status, stdout, stderr } = launch('-enable-kvm');
  expect(status).toBe(1);
  expect(stdout).toBe('');
  expect(stderr).toContain(
    `-accel kvm: ${kvm.kind === 'none' ? '' : '/dev/kvm is no use: '}${kvm.reason}`,
  );
  expect(stderr).toContain('-accel soft runs everywhere.');
  expect(stderr).not.toContain('/nonexistent/');
});

unusable(`auto takes the software CPU, and says what of the command line needs KVM${why}`, () => {
  expect(launch('-cpu', 'soft-v1,+sse4a').stderr).toContain(
    '-cpu soft-v1: the software CPU on this host does not have sse4a',
  );
});

kvmTest('a CPU model that this host cannot give', () => {
  const here = new Set(namesOf(vmModule().cpuModel('kvm').features));
  const lacking = ['sha-ni', 'clwb', 'rdpid', 'umip', 'pcid', 'invpcid', 'adx'].find(
    name => !here.has(name),
  );
  if (lacking === undefined) throw new Error('this host has all that the test knows to ask for');
  expect(() => emptyVm('kvm', { cpu: parseCpu(`soft-v1,+${lacking}`) })).toThrow(
    `-cpu soft-v1: this host's KVM does not have ${lacking}`,
  );
});

kvmTest('a state is refused by check, or it loads: whatever is in it', () => {
  // As much of it as this host has.
  const here = new Set(namesOf(vmModule().cpuModel('kvm').features));
  const lacking = ['pni', 'cx16'].filter(name => !here.has(name)).map(name => `,-${name}`);
  const cpu = parseCpu(`qemu64${lacking.join('')}`);
  const { vm } = build(new Assembler().hlt(), 'kvm', { cpu });
  const { vm: target } = emptyVm('kvm', { cpu });
  const good = vm.cpus[0].save();
  const random = new Random(20_261_125);
  const outcome = { loaded: 0, refused: 0 };
  for (let n = 0; n < 1500; n++) {
    const state = Buffer.from(good);
    for (let changes = 1 + random.below(3); changes > 0; changes--) mutate(state, random);
    const before = allButMsrs(target.cpus[0]);
    const wrong = target.cpus[0].check(state);
    expect(before.equals(allButMsrs(target.cpus[0]))).toBe(true);
    if (wrong !== undefined) outcome.refused++;
    else {
      expect(() => target.cpus[0].load(state)).not.toThrow();
      outcome.loaded++;
    }
  }
  expect(outcome.loaded).toBeGreaterThan(100);
  expect(outcome.refused).toBeGreaterThan(100);
});

/** The time-stamp counter, which is an MSR, never stands still. */
function allButMsrs(cpu: StateBlob): Buffer {
  const MSRS = 6176;
  return cpu.save().subarray(0, MSRS);
}

/**
 * A byte, a bit, or a whole word of what is not the header; half of the time in the system
 * registers, where the rules are.
 */
function mutate(state: Buffer, random: Random): void {
  const SREGS = 152;
  const at =
    random.below(2) === 0 ? SREGS + random.below(312) : 8 + random.below(state.length - 16);
  switch (random.below(3)) {
    case 0:
      state[at] = random.below(256);
      break;
    case 1:
      state[at] ^= 1 << random.below(8);
      break;
    default:
      state.writeBigUInt64LE(
        [0n, 1n, 0xffff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0x1000n][random.below(5)],
        at - (at % 8),
      );
  }
}

kvmTest(
  'every model that this host can give is one that its guests run on',
  () => {
    for (const model of ['soft-v1', 'soft-v2', 'qemu64', 'host', 'max']) {
      const { vm } = emptyVm('kvm', { cpu: parseCpu(model) });
      for (const cpu of vm.cpus) expect(cpu.check(cpu.save())).toBeUndefined();
    }
  },
  'full',
);
