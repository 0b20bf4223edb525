/**
 * What a cluster asks of one side of a pair, in the exit codes of the OCF Resource Agent API 1.1.
 * The cluster is supervisor and arbiter in one: promoted is who has the guest, unpromoted a
 * secondary, and who may take over, or go on alone, follows from what the cluster has done.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { PairRecord } from '../../block/record/pair-record.js';
import type { Role } from '../options/spec.js';
import type { Side } from '../pair/side.js';
import type { VmLine } from '../survey.js';

export const Ocf = {
  SUCCESS: 0,
  ERR_GENERIC: 1,
  ERR_UNIMPLEMENTED: 3,
  ERR_INSTALLED: 5,
  ERR_CONFIGURED: 6,
  NOT_RUNNING: 7,
  RUNNING_PROMOTED: 8,
  FAILED_PROMOTED: 9,
} as const;
export type OcfCode = (typeof Ocf)[keyof typeof Ocf];

/** The VM of this side. */
export interface LocalSide {
  readonly side: Side;
  look(): Promise<VmLine | undefined>;
  record(): Promise<PairRecord | undefined>;
  /** Was it started here for the cluster, and not by somebody else? */
  owns(vm: VmLine): boolean;
  /** Returns when it is there. VmError: it did not come up. */
  start(role: Role): Promise<void>;
  /** In order; VmError: it does not end. */
  quit(vm: VmLine): Promise<void>;
  /** At once, whatever it does; a process that this agent started, or none. */
  kill(): Promise<void>;
  /** This side goes on alone. VmError: it does not. */
  goOn(name: string): Promise<void>;
}

/** Of the other instance, by a partition that may decide. */
export type PeerStands = 'gone' | 'there' | 'unknown';

export interface ClusterPort {
  /** How much this node should be promoted; undefined: never. */
  score(value: number | undefined): Promise<void>;
  peer(): Promise<PeerStands>;
  /** The other instance is to be started again: the order of all that follows is the cluster's. */
  failPeer(): Promise<void>;
}

export interface Request {
  /** A monitor of the promoted instance. */
  readonly promoted: boolean;
  /** A notification: what has been done, and on which nodes. */
  readonly notice: { readonly type: string; readonly operation: string } | undefined;
  /** False: nobody waits any longer. */
  mayWait(): boolean;
  sleep(ms: number): Promise<void>;
  note(line: string): void;
}

const POLL_MS = 200;
/** Until a primary has noticed by itself that its secondary was stopped. */
const NOTICE_MS = 5000;

type Standing = 'none' | 'silent' | 'failed' | 'follower' | 'waiting' | 'guest';

export function standingIn(vm: VmLine | undefined): Standing {
  if (!vm) return 'none';
  if (vm.state === 'not answering') return 'silent';
  if (vm.state === 'internal-error' || ['broken', 'superseded', 'ended'].includes(vm.pair))
    return 'failed';
  const follows = ['protected', 'lost', 'handing-over', 'taking-over'].includes(vm.pair);
  if (vm.role === 'secondary') return follows ? 'follower' : 'waiting';
  return vm.pair === 'held' || ['prelaunch', 'inmigrate'].includes(vm.state) ? 'waiting' : 'guest';
}

/**
 * Who has the guest keeps it, and a secondary in step is next. Without either the images tell, as
 * far as one of them alone can: only a side that had the guest is started from its disk.
 */
export function scoreOf(
  standing: Standing,
  side: Side,
  record: PairRecord | undefined,
): number | undefined {
  if (standing === 'guest') return 100;
  if (standing === 'follower') return 50;
  if (!record) return side === 'a' ? 10 : undefined;
  if (record.state === 'alone') return 80;
  if (record.role !== 'primary') return undefined;
  if (record.state === 'together') return 30;
  return record.state === 'protected' ? 5 : undefined;
}

export class Agent {
  constructor(
    private readonly local: LocalSide,
    private readonly cluster: ClusterPort,
    private readonly request: Request,
  ) {}

  async monitor(): Promise<OcfCode> {
    const vm = await this.local.look();
    const standing = await this.rate(vm);
    switch (standing) {
      case 'none':
        return Ocf.NOT_RUNNING;
      case 'silent':
      case 'failed':
        this.request.note(`${vm!.name}: ${vm!.error ?? `${vm!.state}, ${vm!.pair}`}`);
        return this.request.promoted ? Ocf.FAILED_PROMOTED : Ocf.ERR_GENERIC;
      case 'follower':
      case 'waiting':
        return Ocf.SUCCESS;
      case 'guest':
        if (vm!.pair === 'lost') await this.peerLost(vm!);
        return Ocf.RUNNING_PROMOTED;
    }
  }

  async start(): Promise<OcfCode> {
    const vm = await this.local.look();
    const standing = standingIn(vm);
    const unfit = standing === 'guest' || standing === 'silent' || standing === 'failed';
    if (vm && (unfit || !this.local.owns(vm)))
      throw new VmError(`${vm.name} runs already: ${vm.role}, ${vm.pair}`, {
        hint: 'End it, and what started it (colo run), first.',
      });
    if (standing === 'none') await this.local.start('secondary');
    await this.rate(await this.local.look());
    return Ocf.SUCCESS;
  }

  async stop(): Promise<OcfCode> {
    await this.cluster.score(undefined).catch((error: unknown) => this.note(error));
    await this.end();
    return Ocf.SUCCESS;
  }

  /** The former one was demoted, stopped or fenced: the cluster has seen to it. */
  async promote(): Promise<OcfCode> {
    const vm = await this.local.look();
    const standing = standingIn(vm);
    if (standing === 'none') return Ocf.NOT_RUNNING;
    if (standing === 'silent' || standing === 'failed')
      throw new VmError(`${vm!.name} is ${vm!.role}, ${vm!.pair}: it cannot be promoted`);
    if (standing === 'follower') await this.local.goOn(vm!.name);
    if (standing === 'waiting') await this.startGuest(vm!);
    await this.untilGuest();
    return Ocf.SUCCESS;
  }

  /** The guest goes on where it is promoted next, from the last checkpoint: this VM ends. */
  async demote(): Promise<OcfCode> {
    const standing = standingIn(await this.local.look());
    if (standing === 'none') return Ocf.NOT_RUNNING;
    if (standing !== 'follower' && standing !== 'waiting') {
      await this.end();
      await this.local.start('secondary');
    }
    await this.rate(await this.local.look());
    return Ocf.SUCCESS;
  }

  async notify(): Promise<OcfCode> {
    const { notice } = this.request;
    if (notice?.type !== 'post') return Ocf.SUCCESS;
    let vm = await this.local.look();
    if (notice.operation === 'stop') {
      // The cluster knows that it is over there before the VM need have noticed.
      for (let ms = 0; ms < NOTICE_MS && inPair(vm) && this.request.mayWait(); ms += POLL_MS) {
        await this.request.sleep(POLL_MS);
        vm = await this.local.look();
      }
      if (vm && standingIn(vm) === 'guest' && vm.pair === 'lost') await this.peerLost(vm);
    }
    await this.rate(vm);
    return Ocf.SUCCESS;
  }

  /**
   * Its output is held until somebody decides: the other side could go on from what it has. Once
   * the cluster has that stopped or fenced it cannot, and until then it is told to stop it.
   */
  private async peerLost({ name }: VmLine): Promise<void> {
    try {
      const peer = await this.cluster.peer();
      if (peer === 'gone') await this.local.goOn(name);
      if (peer === 'there') await this.cluster.failPeer();
      if (peer === 'unknown') this.request.note(`${name}: protection was lost, and no quorum`);
    } catch (error) {
      this.note(error); // the next monitor tries again
    }
  }

  private async rate(vm: VmLine | undefined): Promise<Standing> {
    const standing = standingIn(vm);
    let score: number | undefined;
    try {
      score = scoreOf(standing, this.local.side, await this.local.record());
    } catch (error) {
      this.note(error); // an image that cannot be read is no reason for a promotion
    }
    await this.cluster.score(score).catch((error: unknown) => this.note(error));
    return standing;
  }

  private async end(): Promise<void> {
    const vm = await this.local.look();
    if (vm && vm.state !== 'not answering')
      await this.local.quit(vm).catch((error: unknown) => this.note(error));
    await this.local.kill();
    for (;;) {
      const left = await this.local.look();
      if (!left) return;
      if (!this.request.mayWait()) throw new VmError(`${left.name} does not end`);
      await this.request.sleep(POLL_MS);
    }
  }

  /** From its disk: a secondary without a state of its own is another process. */
  private async startGuest(vm: VmLine): Promise<void> {
    const { side } = this.local;
    if (vm.role === 'secondary') {
      if (scoreOf('waiting', side, await this.local.record()) === undefined)
        throw new VmError(`${vm.name}: its images do not say that this side had the guest`, {
          hint: 'Promote the other node. Which side is newer: colo image record IMAGE',
        });
      await this.end();
      await this.local.start('primary');
    }
  }

  private async untilGuest(): Promise<void> {
    for (;;) {
      const vm = await this.local.look();
      const standing = await this.rate(vm);
      if (standing === 'guest') return;
      if (standing === 'none' || standing === 'failed' || !this.request.mayWait())
        throw new VmError(
          `the guest does not run: ${vm ? `${vm.state}, ${vm.pair}` : 'it ended'}`,
          {
            hint: 'Where the other host is lost for good, a person decides: colo failover NAME',
          },
        );
      await this.request.sleep(POLL_MS);
    }
  }

  private note(error: unknown): void {
    this.request.note(asVmError(error).message);
  }
}

const inPair = (vm: VmLine | undefined) =>
  vm !== undefined && standingIn(vm) === 'guest' && vm.pair === 'protected';
