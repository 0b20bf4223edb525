/**
 * One side of a pair is kept there: its VM is started in the role that fits, started again when it
 * was lost, and turned into the other side's secondary when that has the guest. It decides nothing
 * about who may run: the VMs do, by their records and their peer's word.
 */
import { asVmError } from '../../base/errors.js';
import type { PairRecord } from '../../block/record/pair-record.js';
import type { Role } from '../options/spec.js';
import type { VmLine } from '../survey.js';
import { roleFor } from './role.js';
import type { Side } from './side.js';

/** What a VM that was started came to. */
export interface Ended {
  /** undefined: a signal ended it. */
  readonly code: number | undefined;
}

export interface StartedVm {
  /** Settles when its process is over. */
  readonly ended: Promise<Ended>;
  /** In order, as far as it has come up. */
  end(): void;
}

export interface SupervisedSide {
  readonly side: Side;
  /** It was told to end: its VM is ended in order, and none is started any more. */
  readonly stopping: boolean;
  /** The live VM of this side, whoever started it. */
  look(): Promise<VmLine | undefined>;
  /** What the images of this side say; undefined: nothing. VmError: they cannot be read. */
  record(): Promise<PairRecord | undefined>;
  /**
   * By the pair's arbiter this guest is the other side's. False also where there is none, or it
   * does not say so: then the VM finds out. Never rejects.
   */
  isElsewhere(record: PairRecord): Promise<boolean>;
  start(role: Role): StartedVm;
  /** In order; returns when its process is over. */
  quit(vm: VmLine): Promise<void>;
  sleep(ms: number): Promise<void>;
  tell(event: SupervisorEvent): void;
}

export type SupervisorEvent =
  | { readonly event: 'started'; readonly role: Role; readonly why: string }
  | { readonly event: 'found'; readonly vm: VmLine }
  | { readonly event: 'stands'; readonly vm: VmLine }
  | { readonly event: 'follows'; readonly why: string }
  | { readonly event: 'lost'; readonly why: string; readonly againMs: number }
  | { readonly event: 'over'; readonly why: string };

const LOOK_MS = 500;
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;
/** A VM that has been there for so long came up well. */
const WELL_MS = 10_000;
/** Of a VM that is told to end before it is there. */
const STOP_MS = 30_000;
const USAGE_CODE = 2;

/** Gives the exit code, when the guest is over or can never be started so. */
export async function supervise(host: SupervisedSide): Promise<number> {
  let delayMs = FIRST_DELAY_MS;
  let why = 'nothing of this side runs';
  const found = await host.look();
  if (found) host.tell({ event: 'found', vm: found });
  let started: StartedVm | undefined;
  let running = found !== undefined;
  for (;;) {
    if (!running) {
      if (host.stopping) return 0;
      const record = await readRecord(host);
      if (record instanceof Error) {
        host.tell({ event: 'lost', why: record.message, againMs: LONGEST_DELAY_MS });
        await host.sleep(LONGEST_DELAY_MS);
        continue;
      }
      const role = await roleOf(host, record);
      host.tell({ event: 'started', role, why });
      started = host.start(role);
    }
    const outcome = await watch(host, started);
    running = false;
    if (outcome.kind === 'over') {
      host.tell({ event: 'over', why: outcome.why });
      return outcome.code;
    }
    why = outcome.why;
    if (outcome.kind === 'turned') {
      host.tell({ event: 'follows', why });
      delayMs = FIRST_DELAY_MS;
      continue;
    }
    delayMs = outcome.livedMs > WELL_MS ? FIRST_DELAY_MS : delayMs;
    host.tell({ event: 'lost', why, againMs: delayMs });
    await host.sleep(delayMs);
    delayMs = Math.min(2 * delayMs, LONGEST_DELAY_MS);
  }
}

type Outcome =
  | { readonly kind: 'over'; readonly why: string; readonly code: number }
  | { readonly kind: 'turned'; readonly why: string }
  | { readonly kind: 'lost'; readonly why: string; readonly livedMs: number };

/** Until its process is over, or has to be another. */
async function watch(host: SupervisedSide, started: StartedVm | undefined): Promise<Outcome> {
  let ended: Ended | undefined;
  void started?.ended.then(end => (ended = end));
  let told = '';
  let livedMs = 0;
  let seen = false;
  for (;;) {
    const vm = await host.look();
    if (host.stopping) return stop(host, vm, started);
    if (vm) {
      seen = true;
      const stands = `${vm.role} ${vm.pair} ${vm.state === 'not answering'}`;
      if (stands !== told) host.tell({ event: 'stands', vm });
      told = stands;
      const turn = turned(vm) ?? (await given(host, vm));
      if (turn !== undefined) {
        const left = await host.quit(vm).then(() => undefined, asVmError);
        if (!left) return { kind: 'turned', why: turn };
        host.tell({ event: 'lost', why: left.message, againMs: LOOK_MS });
      }
      if (vm.pair === 'ended') return { kind: 'over', why: 'the guest has shut down', code: 0 };
    } else if (ended || (seen && (await isFreed(host)))) return endOf(ended, livedMs);
    await host.sleep(LOOK_MS);
    livedMs += LOOK_MS;
  }
}

/** A VM that has no name yet is on its way up: it must not be left behind. */
async function stop(
  host: SupervisedSide,
  vm: VmLine | undefined,
  started: StartedVm | undefined,
): Promise<Outcome> {
  let left: string | undefined;
  if (vm)
    left = await host.quit(vm).then(
      () => undefined,
      error => asVmError(error).message,
    );
  else if (started) {
    started.end();
    const late = host.sleep(STOP_MS).then(() => 'its process does not end');
    left = await Promise.race([started.ended.then(() => undefined), late]);
  }
  return { kind: 'over', why: left ?? 'ended, as it was told', code: left === undefined ? 0 : 1 };
}

/** A name may be away for a moment while a process gives it up. */
async function isFreed(host: SupervisedSide): Promise<boolean> {
  await host.sleep(LOOK_MS);
  return (await host.look()) === undefined;
}

/** Why this process has to be ended, for another in its place; undefined: it is right as it is. */
function turned(vm: VmLine): string | undefined {
  if (vm.pair === 'broken') return `its state is not whole: ${vm.error ?? 'no reason is known'}`;
  // A secondary that waits, or follows, is what it should be; one that had to give way never
  // follows again.
  const follows = vm.role === 'secondary' && vm.pair !== 'superseded';
  if (vm.superseded && !follows) return 'the other side has the guest';
  return undefined;
}

/** A replica that was started, and that its arbiter calls the owner, has written that down. */
async function given(host: SupervisedSide, vm: VmLine): Promise<string | undefined> {
  if (vm.role !== 'secondary' || vm.pair !== 'waiting') return undefined;
  const record = await readRecord(host);
  if (!record || record instanceof Error || record.role !== 'primary') return undefined;
  return record.state === 'alone' ? 'the arbiter has given this side the guest' : undefined;
}

function endOf(ended: Ended | undefined, livedMs: number): Outcome {
  if (ended?.code === USAGE_CODE)
    return { kind: 'over', why: 'it cannot be started so', code: USAGE_CODE };
  if (ended?.code === 0) return { kind: 'over', why: 'it ended in order', code: 0 };
  const how =
    ended === undefined
      ? 'its process is gone'
      : ended.code === undefined
        ? 'a signal ended it'
        : `it ended with code ${ended.code}`;
  return { kind: 'lost', why: how, livedMs };
}

/**
 * One whose peer may have the guest would start as a primary that waits, hear so, and be ended for
 * a secondary; and what it had noted of that would keep the bitmaps from being used.
 */
async function roleOf(host: SupervisedSide, record: PairRecord | undefined): Promise<Role> {
  const role = roleFor(host.side, record);
  const doubtful = role === 'primary' && record?.state === 'protected';
  return doubtful && (await host.isElsewhere(record)) ? 'secondary' : role;
}

async function readRecord(host: SupervisedSide): Promise<PairRecord | undefined | Error> {
  try {
    return await host.record();
  } catch (error) {
    return asVmError(error);
  }
}
