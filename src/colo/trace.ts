/**
 * Trace events of COLO, named as in QEMU (its old and its new names for messages), and a few of our
 * own.
 */
import { tracer } from '../base/trace.js';

export const trace = tracer('colo', [
  'vm_state_change',
  'put_cmd',
  'get_cmd',
  'send_message',
  'receive_message',
  'failover_set_state',
  'failover_refused',
  'start_block_replication',
  'stop_block_replication',
  'flush_ram_cache_begin',
  'flush_ram_cache_end',
  'checkpoint_done',
  'checkpoint_aborted',
  'disk_compared',
  'fence',
  'failover_warning',
  'wait_failed',
]);

/** Heartbeats are not worth a line each. */
const quiet = new Set(['ping', 'pong', 'pages', 'blob', 'digest']);

export function traceMessage(direction: 'sent' | 'got', type: string): void {
  if (quiet.has(type)) return;
  trace(direction === 'sent' ? 'put_cmd' : 'get_cmd', { msg: type });
  trace(direction === 'sent' ? 'send_message' : 'receive_message', { msg: type });
}
