/**
 * The features of CPUID by QEMU's names: where their bits stand, and which a checkpoint cannot
 * carry. What is carried has no state of its own beyond what a vCPU's image holds: general
 * registers, x87 and SSE, control registers, the model's MSRs.
 */
import { or32, without32 } from '../base/unsigned.js';
import type { CpuModel } from './contract.js';

/**
 * Words in the order of struct Features in native/vcpu/model.h: leaf 1 ECX, EDX; leaf 7 EBX, ECX;
 * leaf 80000001 ECX, EDX; KVM's leaf 40000001 EAX; leaf D, sub-leaf 1 EAX.
 */
const WORDS = ['ecx1', 'edx1', 'ebx7', 'ecx7', 'ecx81', 'edx81', 'kvm', 'xsave1'] as const;
type Word = (typeof WORDS)[number];
export const WORD_COUNT = WORDS.length;

export interface CpuFeature {
  readonly name: string;
  readonly word: number;
  readonly bit: number;
}

/** Model soft-v1 has these, or a model on KVM may have them on top. */
const carried: Readonly<Record<Word, Readonly<Record<string, number>>>> = {
  edx1: {
    fpu: 0,
    de: 2,
    pse: 3,
    tsc: 4,
    msr: 5,
    pae: 6,
    mce: 7,
    cx8: 8,
    apic: 9,
    sep: 11,
    mtrr: 12,
    pge: 13,
    mca: 14,
    cmov: 15,
    pat: 16,
    pse36: 17,
    clflush: 19,
    mmx: 23,
    fxsr: 24,
    sse: 25,
    sse2: 26,
  },
  ecx1: {
    pni: 0,
    pclmulqdq: 1,
    ssse3: 9,
    cx16: 13,
    pcid: 17,
    'sse4.1': 19,
    'sse4.2': 20,
    x2apic: 21,
    movbe: 22,
    popcnt: 23,
    aes: 25,
    xsave: 26,
    rdrand: 30,
    hypervisor: 31,
  },
  ebx7: {
    fsgsbase: 0,
    'tsc-adjust': 1,
    bmi1: 3,
    smep: 7,
    bmi2: 8,
    erms: 9,
    invpcid: 10,
    rdseed: 18,
    adx: 19,
    smap: 20,
    clflushopt: 23,
    clwb: 24,
    'sha-ni': 29,
  },
  ecx7: { umip: 2, rdpid: 22 },
  ecx81: { 'lahf-lm': 0, abm: 5, sse4a: 6, misalignsse: 7, '3dnowprefetch': 8 },
  edx81: { syscall: 11, nx: 20, mmxext: 22, pdpe1gb: 26, rdtscp: 27, lm: 29 },
  kvm: { 'kvm-nopiodelay': 1, kvmclock: 3, 'kvmclock-stable-bit': 24 },
  xsave1: { xsaveopt: 0, xsavec: 1, xgetbv1: 2 },
};

const EXTENDED_REGISTERS = 'its registers are not part of a checkpoint, which has x87 and SSE';
const HOST_TSC = "it counts the host's TSC, and the other side of a pair counts at another rate";
const NESTED = 'a nested guest is not part of a checkpoint';
const PV_STATE = 'what KVM keeps for it in guest memory is not part of a checkpoint';
const BY_SMP = 'it follows from -smp';
const notCarried: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      'xsaves',
      'avx',
      'avx2',
      'fma',
      'f16c',
      'avx512f',
      'vaes',
      'vpclmulqdq',
      'fma4',
      'xop',
      'mpx',
      'pku',
    ].map(name => [name, EXTENDED_REGISTERS]),
  ),
  ...Object.fromEntries(['tsc-deadline', 'invtsc'].map(name => [name, HOST_TSC])),
  ...Object.fromEntries(['svm', 'vmx', 'npt', 'nrip-save'].map(name => [name, NESTED])),
  ...Object.fromEntries(
    [
      'kvm-asyncpf',
      'kvm-asyncpf-int',
      'kvm-steal-time',
      'kvm-pv-eoi',
      'kvm-pv-unhalt',
      'kvm-pv-ipi',
      'kvm-pv-tlb-flush',
      'kvm-poll-control',
    ].map(name => [name, PV_STATE]),
  ),
  ...Object.fromEntries(['ht', 'cmp-legacy', 'topoext'].map(name => [name, BY_SMP])),
  vme: 'virtual-8086 mode is not part of a checkpoint',
  osxsave: 'the guest has it while it has set CR4.OSXSAVE',
  monitor: 'a vCPU that waits in MWAIT cannot be stopped at an instruction boundary',
  la57: 'five-level page tables are not offered',
  'spec-ctrl': 'its MSR is not part of a checkpoint',
  ssbd: 'its MSR is not part of a checkpoint',
  pmu: 'performance counters are not part of a checkpoint',
};

/** A guest that cannot ask for the time would keep it by the TSC. */
const always = new Set(['kvmclock', 'hypervisor']);

/** QEMU takes `sse4_1` and `sse4-1` for `sse4.1`, `sse3` for `pni`. */
const plain = (name: string) => name.toLowerCase().replaceAll(/[_.]/g, '-');
const aliases: Readonly<Record<string, string>> = {
  sse3: 'pni',
  pclmuldq: 'pclmulqdq',
  lzcnt: 'abm',
  i64: 'lm',
  xd: 'nx',
};

export const features: readonly CpuFeature[] = WORDS.flatMap((word, i) =>
  Object.entries(carried[word]).map(([name, bit]) => ({ name, word: i, bit })),
);
const byName = new Map(features.map(feature => [plain(feature.name), feature]));

/** The feature; or why there is none of the name that a guest could have. */
export function featureOf(name: string): CpuFeature | string {
  const key = aliases[plain(name)] ?? plain(name);
  const known = byName.get(key);
  if (known) return known;
  const reason = Object.hasOwn(notCarried, key) ? notCarried[key] : undefined;
  return reason === undefined
    ? `'${name}' is not a CPU flag that colo knows`
    : `${key} cannot be had: ${reason}`;
}

export const isAlwaysOn = (feature: CpuFeature) => always.has(feature.name);

export const hasFeature = (words: readonly number[], { word, bit }: CpuFeature) =>
  ((words[word] >>> bit) & 1) === 1;

export function withFeature(
  words: readonly number[],
  { word, bit }: CpuFeature,
  on: boolean,
): number[] {
  return words.map((value, i) =>
    i !== word ? value : on ? or32(value, 1 << bit) : without32(value, 1 << bit),
  );
}

/** By name, in the order of the table. */
export const namesOf = (words: readonly number[]) =>
  features.filter(feature => hasFeature(words, feature)).map(feature => feature.name);

/** For a manifest: what both sides of a pair must show alike. */
export function describeCpu({
  name,
  vendor,
  signature,
  features: words,
  sockets,
  cores,
  threads,
}: CpuModel) {
  return { model: name, vendor, signature, features: namesOf(words), sockets, cores, threads };
}
