/**
 * Trace events of COLO, named as in QEMU (its old and its new names for messages), and a few of our
 * own.
 */
import { event, tracer } from '../base/trace.js';
import type { CheckpointRecord } from './statistics.js';

export const trace = tracer('colo', {
  put_cmd: event<{ msg: string }>(),
  get_cmd: event<{ msg: string }>(),
  send_message: event<{ msg: string }>(),
  receive_message: event<{ msg: string }>(),
  failover_set_state: event<{ from: string; event: string; to: string; status: string }>(),
  failover_refused: event<{ state: string; event: string }>(),
  start_block_replication: event<{ mode: string; disks: number }>(),
  stop_block_replication: event<{ reason: string }>(),
  flush_ram_cache_begin: event<{ dirty_pages: number }>(),
  flush_ram_cache_end: event(),
  checkpoint_done: event<{ [N in keyof CheckpointRecord]: CheckpointRecord[N] }>(),
  checkpoint_aborted: event<{ epoch: number; why: string }>(),
  disk_compared: event<{ disk: string; different: number; may: string }>(),
  fence: event<{ result: string }>(),
  heartbeat_lost: event<{ beatsMs: number; connectionMs: number }>(),
  failover_warning: event<{ side: string; error: string }>(),
  wait_failed: event<{ what: string; error: string }>(),
});

/** Heartbeats are not worth a line each. */
const quiet = new Set(['ping', 'pong', 'pages', 'packed-pages', 'blob', 'digest']);

export function traceMessage(direction: 'sent' | 'got', type: string): void {
  if (quiet.has(type)) return;
  trace[direction === 'sent' ? 'put_cmd' : 'get_cmd']?.({ msg: type });
  trace[direction === 'sent' ? 'send_message' : 'receive_message']?.({ msg: type });
}
