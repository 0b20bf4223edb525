/**
 * Goal: `-cpu` gives exactly the processor that was asked for, or a sentence that names the flag in
 * the way. Method: backends of made-up ability.
 */
import type { CpuOffer } from '../../../src/accel/addon.js';
import {
  featureOf,
  features,
  hasFeature,
  namesOf,
  withFeature,
} from '../../../src/accel/cpu-features.js';
import {
  type CpuChoice,
  defaultCpu,
  type Offers,
  resolveCpu,
} from '../../../src/accel/cpu-model.js';
import { vmModule } from '../../../src/accel/addon.js';
import { parseCpu } from '../../../src/commands/options/cpu.js';

const { most = [], ...soft } = vmModule().cpuModel('soft');
const plus = (offer: CpuOffer, ...names: string[]) =>
  names.reduce(
    (words, name) =>
      withFeature(
        words,
        features.find(f => f.name === name)!,
        true,
      ),
    offer.features as number[],
  );
const host: CpuOffer = {
  name: 'host',
  vendor: 'GenuineIntel',
  signature: 0x906ea,
  brand: 'A Real One',
  features: plus(soft, 'pni', 'aes', 'smep', 'rdtscp'),
};
const offers: Offers = accel => (accel === 'soft' ? soft : host);
const resolve = (text: string, accel: 'soft' | 'kvm' = 'kvm') =>
  resolveCpu(parseCpu(text), accel, undefined, offers);
const refusal = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
};

test('the plain model is the software CPU, on every backend', () => {
  expect(resolveCpu(defaultCpu, 'kvm', undefined, offers)).toEqual({
    ...soft,
    sockets: 1,
    cores: 1,
    threads: 1,
  });
  expect(namesOf(soft.features)).toEqual(
    expect.arrayContaining(['fpu', 'sse2', 'cx16', 'lm', 'nx', 'syscall', 'kvmclock', 'x2apic']),
  );
  expect(namesOf(soft.features)).not.toContain('pni');
});

test('flags are added and taken away, by every spelling', () => {
  const names = (text: string) => namesOf(resolve(text).features);
  expect(names('soft-v1,+aes,-cx16,smep=on,rdtscp')).toEqual(
    expect.arrayContaining(['aes', 'smep', 'rdtscp']),
  );
  expect(names('soft-v1,+aes,-cx16')).not.toContain('cx16');
  expect(names('soft-v1,lahf_lm=off')).not.toContain('lahf-lm');
  expect(names('soft-v1,+sse3')).toContain('pni');
  expect(names('soft-v1,+aes,-aes')).not.toContain('aes'); // the last word counts
  expect(resolve('qemu64,+kvmclock')).toMatchObject({
    name: 'qemu64',
    vendor: 'AuthenticAMD',
    signature: soft.signature,
  });
});

test("qemu64 has QEMU's flags, the hypervisor's beside them", () => {
  const names = namesOf(resolve('qemu64').features);
  const without = (all: string[]) => all.filter(name => !/^kvm|^(hypervisor|x2apic)$/.test(name));
  const baseline =
    'fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx';
  expect(without(names).sort()).toEqual(
    `${baseline} fxsr sse sse2 pni cx16 lahf-lm syscall nx lm`.split(' ').sort(),
  );
});

test('the software CPU has more than it shows, and every model of it is a part of that', () => {
  const able: Offers = () => ({ ...soft, most });
  const names = (text: string) =>
    namesOf(resolveCpu(parseCpu(text), 'soft', undefined, able).features);
  const v2 = ['pni', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'movbe'];
  expect(names('soft-v2').sort()).toEqual([...names('soft-v1'), ...v2].sort());
  expect(names('max')).toEqual(
    expect.arrayContaining([...v2, 'rdtscp', 'smap', 'xsave', 'xsavec', 'abm', 'bmi1', 'bmi2']),
  );
  expect(names('max')).toEqual(namesOf(most));
  expect(names('soft-v1,+rdrand')).toContain('rdrand');
  expect(names('soft-v2,-sse4.2')).not.toContain('sse4.2');
  const resolved = resolveCpu(parseCpu('soft-v2'), 'soft', undefined, able);
  expect(Object.keys(resolved)).not.toContain('most');
});

test('host and max are the host, as far as a checkpoint carries it', () => {
  const { name, vendor, signature, features: words } = resolve('host');
  expect({ name, vendor, signature }).toEqual({
    name: 'host',
    vendor: 'GenuineIntel',
    signature: 0x906ea,
  });
  expect(namesOf(words)).toEqual(namesOf(host.features));
  const avx = {
    ...host,
    features: host.features.map((word, i) => (i === 0 ? (word | (1 << 28)) >>> 0 : word)),
  };
  expect(
    resolveCpu(parseCpu('host'), 'kvm', undefined, accel => (accel === 'soft' ? soft : avx))
      .features,
  ).toEqual(words);
  expect(namesOf(resolve('max', 'soft').features)).toEqual(namesOf(soft.features));
});

test.each<[string, 'soft' | 'kvm', string]>([
  ['qemu64', 'soft', '-cpu qemu64: the software CPU on this host does not have pni'],
  ['soft-v2', 'soft', '-cpu soft-v2: the software CPU on this host does not have pni'],
  ['soft-v1,+aes', 'soft', '-cpu soft-v1: the software CPU on this host does not have aes'],
  ['soft-v1,+rdseed', 'kvm', "-cpu soft-v1: this host's KVM does not have rdseed"],
  ['host', 'soft', "-cpu host: the software CPU does not show the host's processor"],
  [
    'soft-v1,-kvmclock',
    'kvm',
    '-cpu: kvmclock cannot be taken away: a guest keeps its time by kvmclock, which goes on ' +
      'after a failover',
  ],
])('-cpu %s on %s', (text, accel, message) => {
  expect(refusal(() => resolve(text, accel))).toBe(message);
});

test('a host that lacks a part of the plain model is refused by the name of that part', () => {
  const poor: Offers = accel =>
    accel === 'soft'
      ? soft
      : {
          ...host,
          features: withFeature(
            host.features,
            features.find(f => f.name === 'cx16')!,
            false,
          ),
        };
  for (const model of ['soft-v1', 'qemu64', 'host', 'max'])
    expect(refusal(() => resolveCpu({ model, flags: [] }, 'kvm', undefined, poor))).toContain(
      "this host's KVM does not have cx16",
    );
});

test('the state of XSAVE is carried for x87 and SSE, and its features are named one by one', () => {
  const able: Offers = () => ({ ...soft, most });
  const names = (text: string) =>
    namesOf(resolveCpu(parseCpu(text), 'soft', undefined, able).features);
  expect(names('soft-v1,+xsave,+xsaveopt').filter(name => name.startsWith('xsave'))).toEqual([
    'xsave',
    'xsaveopt',
  ]);
  expect(names('soft-v1').filter(name => /xsave|xgetbv/.test(name))).toEqual([]);
  expect(refusal(() => resolve('soft-v1,+osxsave'))).toBe(
    'osxsave cannot be had: the guest has it while it has set CR4.OSXSAVE',
  );
});

test.each([
  ['Haswell', "'Haswell' is not a CPU model of colo; it has soft-v1, soft-v2, qemu64, host, max"],
  [
    'qemu64,+avx',
    'avx cannot be had: its registers are not part of a checkpoint, which has x87 and SSE',
  ],
  ['host,+svm', 'svm cannot be had: a nested guest is not part of a checkpoint'],
  [
    'host,invtsc=on',
    "invtsc cannot be had: it counts the host's TSC, and the other side of a pair counts at " +
      'another rate',
  ],
  [
    'qemu64,+kvm_pv_eoi',
    'kvm-pv-eoi cannot be had: what KVM keeps for it in guest memory is not part of a checkpoint',
  ],
  ['qemu64,+warp', "'warp' is not a CPU flag that colo knows"],
  ['qemu64,aes=maybe', "'aes' is on or off, not 'maybe'"],
  ['qemu64,,', "'qemu64,' is not a CPU model of colo; it has soft-v1, soft-v2, qemu64, host, max"],
])('-cpu %s', (text, message) => {
  expect(refusal(() => parseCpu(text))).toBe(message);
});

test('every name stands for one bit, and no two names for the same', () => {
  const places = features.map(f => `${f.word}.${f.bit}`);
  expect(new Set(places).size).toBe(places.length);
  for (const feature of features) expect(featureOf(feature.name)).toBe(feature);
  const none: CpuChoice = { model: 'soft-v1', flags: [] };
  expect(
    features.filter(f => hasFeature(resolveCpu(none, 'soft', undefined, offers).features, f))
      .length,
  ).toBeGreaterThan(25);
});
