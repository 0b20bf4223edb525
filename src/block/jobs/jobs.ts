/** All block jobs of a VM: by id, the nodes that they hold, and how they end with it. */
import { VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import type { Clock } from '../../host/ports.js';
import type { JobType, QmpEvents } from '../../qapi/types.js';
import type { BlockNode } from '../contract/node.js';
import type { JobInfo, JobOptions } from './contract.js';
import { Job, type JobDriver } from './job.js';

const MAX_JOBS = 64;

export class BlockJobs {
  private readonly jobs = new Map<string, Job>();
  private readonly holders = new Map<BlockNode, string>();

  constructor(
    private readonly clock: Clock,
    private readonly events?: Events<QmpEvents>,
  ) {}

  /**
   * VmError, before anything is done: the id is taken or malformed, there are too many, a node is
   * in another job's hands.
   */
  check(id: string, nodes: readonly BlockNode[]): void {
    if (!/^[A-Za-z][A-Za-z0-9._-]{0,63}$/.test(id))
      throw new VmError(`Invalid job ID '${id.slice(0, 80)}'`, {
        hint: 'A letter, then letters, digits and -._',
      });
    if (this.jobs.has(id)) throw new VmError(`Job ID '${id}' already in use`);
    if (this.jobs.size >= MAX_JOBS) throw new VmError(`there are ${MAX_JOBS} jobs already`);
    for (const node of nodes) {
      const holder = this.holders.get(node);
      if (holder !== undefined)
        throw new VmError(`Node '${node.name}' is busy: ${holder} works on it`);
    }
  }

  /**
   * Claims the nodes for a job: they cannot be deleted, and those that it writes have no other
   * writer. Returns a function that releases one node, or all.
   */
  hold(
    id: string,
    type: JobType,
    nodes: readonly { node: BlockNode; write: boolean }[],
  ): (node?: BlockNode) => void {
    const label = `block job '${id}' (${type})`;
    const releases = new Map<BlockNode, () => void>();
    const release = (only?: BlockNode) => {
      for (const [node, give] of [...releases]) {
        if (only && node !== only) continue;
        give();
        releases.delete(node);
        this.holders.delete(node);
      }
    };
    try {
      for (const { node, write } of nodes) {
        releases.set(node, node.attach({ label, write }));
        this.holders.set(node, label);
      }
      return release;
    } catch (error) {
      release();
      throw error;
    }
  }

  start(driver: JobDriver, options: JobOptions): Job {
    const job = new Job(driver, options, {
      clock: this.clock,
      events: this.events,
      forget: gone => this.jobs.delete(gone.id),
    });
    this.jobs.set(options.id, job);
    return job;
  }

  get(id: string): Job {
    const job = this.jobs.get(id);
    if (!job) throw new VmError(`Block job '${id}' not found`, { class: 'DeviceNotActive' });
    return job;
  }

  query(): JobInfo[] {
    return [...this.jobs.values()].map(job => job.info);
  }

  /** Jobs and what is named cannot be at once. */
  refuse(what: string): void {
    const job = [...this.jobs.values()].find(found => found.active);
    if (job)
      throw new VmError(`${what} is not possible while ${job.label} runs`, {
        hint: 'Wait for its end, or cancel it: block_job_cancel.',
      });
  }

  /** The VM ends: they are cancelled, and have let go of their nodes. */
  async stop(): Promise<void> {
    await Promise.all(
      [...this.jobs.values()].map(async job => {
        if (job.active && job.status !== 'aborting') job.cancel(true);
        if (job.active) await job.ended;
      }),
    );
  }
}
