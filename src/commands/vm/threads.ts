/** The host threads that run vCPUs, for pinning and for accounting: Linux has them by name. */
import { readdirSync, readFileSync } from 'node:fs';

/** In the order of their creation, which is that of the vCPUs. */
export function vcpuThreads(): number[] {
  try {
    const ids = readdirSync('/proc/self/task').map(Number).sort((a, b) => a - b);
    return ids.filter(id => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').startsWith('vcpu'));
  } catch {
    return []; // a thread has ended meanwhile, or there is no /proc
  }
}
