/** What a migration says about itself before anything else is sent. */

/** What must be equal on both sides; compared first, and a difference is named in a sentence. */
export interface Manifest {
  ramBytes: number;
  cpus: number;
  /** What CPUID shows; the name of the model only says where it comes from. */
  cpu: { model: string; vendor: string; signature: number; features: string[]; sockets: number; cores: number; threads: number };
  /** Told, not compared: a checkpoint taken on one accelerator resumes on the other. */
  accel: string;
  /** Every state section: id, name of its vmstate, version; in order. */
  devices: { id: string; vmstate: string; version: number }[];
  disks: { id: string; length: number }[];
  netdevs: string[];
}
