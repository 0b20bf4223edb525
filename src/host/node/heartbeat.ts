/**
 * Signs of life beside a connection: UDP between the same two addresses, from a thread of the addon
 * (native/addon/heartbeat_thread.h).
 */
import { networkInterfaces } from 'node:os';
import type { Socket } from 'node:net';
import type { Heartbeat, HeartbeatOptions } from '../ports.js';
import { hostModule, type NativeHeartbeat } from './addon.js';
import { errorCode, systemError } from './errors.js';

/** Where the two ends of a Unix socket meet. */
const LOOPBACK = '127.0.0.1';

/**
 * The end that was called listens at the port of the connection, so that one port is opened in a
 * firewall, or at any other if that one is taken.
 */
export function heartbeatBeside(socket: Socket, options: HeartbeatOptions): Heartbeat {
  const { key, caller, intervalMs, loopLimitMs } = options;
  const { host, zone } = numeric(socket.localAddress);
  const open = (port: number) =>
    new (hostModule().Heartbeat)(host, zone, port, key, caller ? 1 : 2, intervalMs, loopLimitMs);
  try {
    const wanted = caller ? 0 : (socket.localPort ?? 0);
    return new NodeHeartbeat(openAt(open, wanted), socket);
  } catch (e) {
    throw systemError(`no heartbeats at ${host}`, e);
  }
}

function openAt(open: (port: number) => NativeHeartbeat, port: number): NativeHeartbeat {
  try {
    return open(port);
  } catch (e) {
    if (port === 0 || errorCode(e) !== 'EADDRINUSE') throw e;
    return open(0);
  }
}

class NodeHeartbeat implements Heartbeat {
  readonly port: number;

  constructor(
    private readonly native: NativeHeartbeat,
    private readonly socket: Socket,
  ) {
    this.port = native.port();
  }

  aim(port: number): void {
    const { host, zone } = numeric(this.socket.remoteAddress);
    try {
      this.native.aim(host, zone, port);
    } catch (e) {
      throw systemError(`no heartbeats to ${host}`, e);
    }
  }

  turned(busyMs = 0): void {
    this.native.turned(Math.ceil(busyMs));
  }

  setInterval(ms: number): void {
    this.native.setInterval(ms);
  }

  get silentMs(): number | undefined {
    return this.native.silentMs();
  }

  dispose(): void {
    this.native.close();
  }
}

/** An address as Node gives it: v4 perhaps within v6, link-local with its interface. */
function numeric(address = LOOPBACK): { host: string; zone: number } {
  const [host, name] = address.split('%');
  const its = name === undefined ? [] : (networkInterfaces()[name] ?? []);
  const zone = its.find(({ family }) => family === 'IPv6');
  return {
    host: host.replace(/^::ffff:(?=\d+\.)/i, ''),
    zone: zone?.family === 'IPv6' ? zone.scopeid : 0,
  };
}
