/** What a migration says about itself before anything else is sent. */

/** What must be equal on both sides; compared first, and a difference is named in a sentence. */
export interface Manifest {
  ramBytes: number;
  cpus: number;
  /** Told, not compared: a checkpoint taken on one accelerator resumes on the other. */
  accel: string;
  /** Every state section: id, name of its vmstate, version; in order. */
  devices: { id: string; vmstate: string; version: number }[];
  disks: { id: string; length: number }[];
  netdevs: string[];
}
