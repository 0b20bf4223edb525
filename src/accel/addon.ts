/**
 * The addon's `vm` module: what native/addon exports, typed. Only accel uses these classes.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { packageUrl } from '../base/package.js';
import type { CpuModel, PageCodec, Topology } from './contract.js';

export interface NativeRam {
  /** Live RAM by offset, one ArrayBuffer per GiB. They may outlive the RAM object. */
  windows(): ArrayBuffer[];
  setMap(map: readonly { gpa: number; size: number; offset: number; readOnly: boolean }[]): void;
  slots(): { gpa: number; size: number; offset: number }[];
  /** Pairs: first page, number of pages. Pages outside were never touched. */
  populated(): Uint32Array;
  hash(): bigint;
  markWritten(gpa: number, length: number): void;
  markOffsetWritten(offset: number, length: number): void;
  startDirtyLog(): void;
  stopDirtyLog(): void;
  logging(): boolean;
  dirtyCount(): number;
  takeDirty(): Uint32Array;
  restoreDirty(pages: Uint32Array): void;
  gather(pages: Uint32Array, out: Uint8Array): void;
  scatter(pages: Uint32Array, data: Uint8Array): void;
  zero(pages: Uint32Array): void;
}

/** vcpu::Runner::Mode in native/vcpu/runner.h. */
export type VmMode = 'threaded' | 'lockstep' | 'stepped';

export interface NativeVm {
  setCallbacks(
    onExit: (cpu: number) => void,
    onDoorbell: (id: number) => void,
    onParked: (why: number, error: string) => void,
  ): void;
  /** All vCPUs, on their threads. */
  start(): void;
  /** Returns at once; onParked is called when the last of them has stopped. */
  stop(): void;
  /** By index of the vCPU. */
  apicIds(): number[];
  threadIds(): number[];
  /** See exit-page.ts. */
  exitPage(cpu: number): ArrayBuffer;
  setIrq(gsi: number, level: boolean): void;
  signalMsi(address: bigint, data: number): void;
  addDoorbell(
    space: 'mmio' | 'pio',
    address: number,
    size: number,
    datamatch: number | undefined,
    id: number,
  ): void;
  removeDoorbell(id: number): void;
  saveChips(): Buffer;
  checkChips(data: Uint8Array): string | undefined;
  loadChips(data: Uint8Array): void;
  now(): bigint;
  /** 2^64-1: none. */
  nextDeadline(): bigint;
  continueFrom(ns: bigint): void;
  /** Stepped only. */
  advance(ns: bigint | number): void;
  reset(): void;
  guestStopped(): void;
  /** Joins the threads and lets go of the callbacks. */
  close(): void;
}

export interface NativeVcpu {
  /** Stepped only: makes runFor return. */
  stop(): void;
  /** Stepped only, and of all vCPUs: so many each. Returns a RunResult number. */
  runFor(instructions: number): number;
  icount(): bigint;
  error(): string;
  saveState(): Buffer;
  checkState(data: Uint8Array): string | undefined;
  loadState(data: Uint8Array): void;
}

/**
 * What /dev/kvm is worth, found out by running code on it (native/kvm/detect.h). reason: why,
 * without a full stop.
 */
export interface KvmFinding {
  kind: 'none' | 'interpreted' | 'full';
  reason: string;
}

/** A processor that a backend can give: cpuModel() in native/addon/backend.h. */
export interface CpuOffer extends Omit<CpuModel, keyof Topology> {
  /** All that the backend can have, where `features` are less. */
  readonly most?: readonly number[];
}

export interface VmModule {
  GuestRam: new (sizeBytes: number, extraBytes: number) => NativeRam;
  PageCodec: new (ram: NativeRam) => PageCodec;
  Vm: new (
    ram: NativeRam,
    backend: string,
    mode: VmMode,
    cpu: CpuModel,
    dirtyRing: boolean,
  ) => NativeVm;
  Vcpu: new (vm: NativeVm, index: number) => NativeVcpu;
  /** path, without: of tests (kvm::Source in native/kvm/device.h). */
  detectKvm(path?: string, without?: readonly string[]): KvmFinding;
  cpuModel(backend: 'soft' | 'kvm'): CpuOffer;
}

const nativeDir = fileURLToPath(packageUrl('native'));

let loaded: VmModule | undefined;

export function vmModule(): VmModule {
  const load = createRequire(import.meta.url)('node-gyp-build') as (dir: string) => {
    vm: VmModule;
  };
  loaded ??= load(nativeDir).vm;
  return loaded;
}
