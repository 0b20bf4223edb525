/** The words of block jobs, as QEMU's QAPI schema spells them. */
import type { IoStatus } from '../contract/backend.js';
import type { JobStatus, JobType } from '../../qapi/types.js';

export interface JobOptions {
  readonly id: string;
  /** Bytes per second; 0: as fast as it goes. */
  readonly speed: number;
  /** false: the result counts only after job-finalize. */
  readonly autoFinalize: boolean;
  /** false: the job stays, over, until job-dismiss. */
  readonly autoDismiss: boolean;
}

export interface JobInfo {
  readonly id: string;
  readonly type: JobType;
  readonly status: JobStatus;
  readonly len: number;
  readonly offset: number;
  /** It does something, and does not only wait. */
  readonly busy: boolean;
  readonly paused: boolean;
  readonly ready: boolean;
  readonly speed: number;
  readonly ioStatus: IoStatus;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly error?: string;
}
