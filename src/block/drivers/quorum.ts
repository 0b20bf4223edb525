/**
 * Driver `quorum`: several copies of one disk. Writes go to all children, overlapping ones one
 * after the other, so that every copy sees one order. A replication child is a follower: it gets a
 * write once the voting children have it, and it never counts towards the vote.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import type { QmpEvents } from '../../qapi/types.js';
import { type BlockStatus, SECTOR } from '../contract/driver.js';
import { ioCode, ioError, unlessAssertion } from '../contract/io-error.js';
import type { Adopting, BlockNode } from '../contract/node.js';
import type { ReadPattern } from '../options/options.js';
import { RangeLock } from '../../base/range-lock.js';
import { type Follower, inRole, type Quorum } from '../contract/roles.js';

export interface QuorumOptions {
  name: string;
  readPattern: ReadPattern;
  voteThreshold: number;
  /** Two children, and every read compares them. */
  blkverify?: boolean;
  /** A child that was outvoted gets what the majority has. */
  rewriteCorrupted?: boolean;
  events?: Events<QmpEvents>;
}

type Operation = 'read' | 'write' | 'flush';
type Outcome = { node: BlockNode; error?: Error };
type Vote = { data: Buffer; nodes: BlockNode[] };

export class QuorumDriver implements Quorum, Adopting {
  readonly format = 'quorum';
  readonly role = 'quorum';
  readonly length: number;
  readonly readOnly: boolean;
  private readonly lock = new RangeLock();

  /** children is the node's own map: edge names `children.N`, in order of addition. */
  constructor(
    readonly options: QuorumOptions,
    readonly children: Map<string, BlockNode>,
  ) {
    if (children.size === 0) throw new VmError(`quorum '${options.name}' needs at least one child`);
    const { voteThreshold } = options;
    if (!Number.isInteger(voteThreshold) || voteThreshold < 1)
      throw new VmError(`quorum '${options.name}': vote-threshold must be at least 1`);
    if (voteThreshold > this.voters.length)
      throw new VmError(
        `quorum '${options.name}': vote-threshold ${voteThreshold} is more than its voting ` +
          `children, ${this.voters.length}`,
      );
    if (options.blkverify && (this.voters.length !== 2 || voteThreshold !== 2))
      throw new VmError(
        'blkverify=on can only be set if there are exactly two files and vote-threshold is 2',
      );
    if (options.blkverify && options.rewriteCorrupted)
      throw new VmError('rewrite-corrupted=on cannot be used with blkverify=on');
    const first = this.voters[0];
    this.length = first.length;
    this.readOnly = this.voters.every(child => child.readOnly);
    for (const child of children.values()) this.admit(child);
  }

  get voters(): BlockNode[] {
    return [...this.children.values()].filter(node => !inRole('follower', node));
  }

  get followers(): Follower[] {
    return [...this.children.values()].flatMap(node => inRole('follower', node) ?? []);
  }

  /**
   * The lowest free name for a new child; writes of the whole disk are held off while the set
   * changes.
   */
  async addChild(node: BlockNode): Promise<string> {
    if (this.options.blkverify)
      throw new VmError(`Cannot add a child to a quorum in blkverify mode`);
    if (node.length !== this.length)
      throw new VmError(
        `node '${node.name}' has ${node.length} bytes, quorum '${this.options.name}' has ` +
          `${this.length}`,
      );
    return this.lock.runAll('exclusive', async () => {
      let n = 0;
      while (this.children.has(`children.${n}`)) n++;
      this.children.set(`children.${n}`, node);
      this.admit(node);
      return `children.${n}`;
    });
  }

  /** Child 0 of a fifo quorum may go as well: the next voter takes its place. */
  async removeChild(edge: string): Promise<BlockNode> {
    const node = this.children.get(edge);
    if (!node) throw new VmError(`quorum '${this.options.name}' has no child '${edge}'`);
    if (this.options.blkverify)
      throw new VmError(
        `quorum '${this.options.name}' verifies its two children (blkverify=on): none can be ` +
          'taken out',
      );
    if (this.voters.includes(node) && this.voters.length - 1 < this.options.voteThreshold) {
      throw new VmError(
        `child '${edge}' cannot be removed: quorum '${this.options.name}' would have fewer ` +
          `voting children than its vote-threshold, ${this.options.voteThreshold}`,
      );
    }
    const follower = inRole('follower', node);
    follower?.stop();
    return this.lock.runAll('exclusive', async () => {
      this.children.delete(edge);
      if (follower) follower.forwardSource = undefined;
      return node;
    });
  }

  replaceChild(edge: string, child: BlockNode | undefined): void {
    if (child) this.children.set(edge, child);
    else this.children.delete(edge);
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    // A write that has reached one child and not the other is no disagreement.
    if (this.options.readPattern === 'quorum') return this.readByVote(offset, length);
    let failure: VmError | undefined;
    for (const node of this.voters) {
      try {
        return await node.pread(offset, length);
      } catch (error) {
        failure ??= asVmError(unlessAssertion(error));
        this.reportBad('read', node, asVmError(error), offset, length);
      }
    }
    this.reportFailure(offset, length);
    throw failure!;
  }

  /**
   * Zeroes where every child that a read asks has them. One that cannot say so is read, and the
   * read reports what is wrong with it.
   */
  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const asked = this.options.readPattern === 'fifo' ? this.voters.slice(0, 1) : this.voters;
    const answers = await Promise.all(
      asked.map(node =>
        node
          .blockStatus(offset, length)
          .catch((error: unknown) => (unlessAssertion(error), { length, zero: false })),
      ),
    );
    return {
      length: Math.min(...answers.map(answer => answer.length)),
      allocated: true,
      zero: answers.every(answer => answer.zero),
    };
  }

  pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    return this.change(offset, data.length, node => node.pwrite(offset, data, fua));
  }

  async flush(): Promise<void> {
    this.judge('flush', 0, 0, await settle(this.voters, node => node.flush()));
  }

  /** As zeroes: all copies must stay equal, and what a discard leaves is each driver's choice. */
  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.change(offset, length, node => node.writeZeroes(offset, length));
  }

  async close(): Promise<void> {
    for (const follower of this.followers) follower.stop();
  }

  describe() {
    const {
      readPattern,
      voteThreshold,
      blkverify = false,
      rewriteCorrupted = false,
    } = this.options;
    return {
      'read-pattern': readPattern,
      'vote-threshold': voteThreshold,
      ...(blkverify && { blkverify }),
      ...(rewriteCorrupted && { 'rewrite-corrupted': rewriteCorrupted }),
    };
  }

  private admit(node: BlockNode): void {
    if (node.length !== this.length)
      throw new VmError(
        `the children of quorum '${this.options.name}' differ in length: ${this.length} and ` +
          `${node.length} bytes`,
      );
    const follower = inRole('follower', node);
    if (!follower) return;
    follower.forwardSource = {
      withRange: (offset, length, body) =>
        this.lock.run(offset, length, 'exclusive', () => body(() => this.pread(offset, length))),
    };
  }

  private change(
    offset: number,
    length: number,
    write: (node: BlockNode) => Promise<void>,
  ): Promise<void> {
    return this.lock.run(offset, length, 'exclusive', async () => {
      const outcomes = await settle(this.voters, write);
      const failed = outcomes.some(o => o.error);
      for (const [, node] of this.children) {
        const follower = inRole('follower', node);
        if (!follower) continue;
        if (failed) await follower.resend(offset, length, () => this.pread(offset, length));
        else await write(node);
      }
      this.judge('write', offset, length, outcomes);
    });
  }

  private async readByVote(offset: number, length: number): Promise<Buffer> {
    const [winner, ...losers] = await this.lock.run(offset, length, 'shared', () =>
      this.vote(offset, length, true),
    );
    if (!this.options.rewriteCorrupted || losers.length === 0) return winner.data;
    return this.lock.run(offset, length, 'exclusive', async () => {
      const [majority, ...wrong] = await this.vote(offset, length, false);
      const outcomes = await settle(
        wrong.flatMap(vote => vote.nodes),
        node => node.pwrite(offset, majority.data),
      );
      for (const { node, error } of outcomes)
        if (error) this.reportBad('write', node, error, offset, length);
      return majority.data;
    });
  }

  /** What the children hold, the majority first. */
  private async vote(offset: number, length: number, report: boolean): Promise<Vote[]> {
    const votes: Vote[] = [];
    const outcomes = await settle(this.voters, async node => {
      const data = await node.pread(offset, length);
      const same = votes.find(v => v.data.equals(data));
      if (same) same.nodes.push(node);
      else votes.push({ data, nodes: [node] });
    });
    for (const { node, error } of outcomes)
      if (error && report) this.reportBad('read', node, error, offset, length);
    votes.sort((a, b) => b.nodes.length - a.nodes.length);
    if (votes.length === 0 || votes[0].nodes.length < this.options.voteThreshold) {
      this.reportFailure(offset, length);
      throw mostCommon(outcomes) ?? ioError('EIO', this.disagreement(votes, offset));
    }
    for (const loser of votes.slice(1))
      for (const node of loser.nodes)
        if (report) this.reportBad('read', node, undefined, offset, length);
    return votes;
  }

  private disagreement(votes: Vote[], offset: number): string {
    const [a, b] = votes.map(vote => vote.data);
    const at = offset + a.findIndex((byte, i) => byte !== b[i]);
    const what = this.options.blkverify ? 'contents mismatch' : 'the children disagree';
    return `quorum '${this.options.name}': ${what} at offset ${at}`;
  }

  private judge(operation: Operation, offset: number, length: number, outcomes: Outcome[]): void {
    const failures = outcomes.filter(o => o.error);
    for (const { node, error } of failures) this.reportBad(operation, node, error, offset, length);
    if (this.options.readPattern === 'fifo' && outcomes[0].error) throw outcomes[0].error;
    if (outcomes.length - failures.length >= this.options.voteThreshold) return;
    this.reportFailure(offset, length);
    throw mostCommon(failures)!;
  }

  private reportBad(
    type: Operation,
    node: BlockNode,
    error: Error | undefined,
    offset: number,
    length: number,
  ): void {
    this.options.events?.emit('QUORUM_REPORT_BAD', {
      type,
      error: error?.message,
      'node-name': node.name,
      ...sectors(offset, length),
    });
  }

  private reportFailure(offset: number, length: number): void {
    this.options.events?.emit('QUORUM_FAILURE', {
      reference: this.options.name,
      ...sectors(offset, length),
    });
  }
}

function sectors(offset: number, length: number) {
  const first = Math.floor(offset / SECTOR);
  return { 'sector-num': first, 'sectors-count': Math.ceil((offset + length) / SECTOR) - first };
}

/** The error that most children had; of several such the first. */
function mostCommon(outcomes: Outcome[]): Error | undefined {
  const errors = outcomes.flatMap(({ error }) => error ?? []);
  const count = (error: Error) => errors.filter(other => ioCode(other) === ioCode(error)).length;
  return errors.reduce<Error | undefined>(
    (best, error) => (best === undefined || count(error) > count(best) ? error : best),
    undefined,
  );
}

/** All children in parallel. The failure of one does not hide the result of another. */
async function settle(
  nodes: BlockNode[],
  perform: (node: BlockNode) => Promise<void>,
): Promise<Outcome[]> {
  return Promise.all(
    nodes.map(async node => {
      try {
        await perform(node);
        return { node };
      } catch (error) {
        return { node, error: asVmError(unlessAssertion(error)) };
      }
    }),
  );
}
