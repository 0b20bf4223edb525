/** `colo nbd serve`: an image for NBD clients, until SIGINT or SIGTERM. */
import { unlink } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { NBD_PORT } from '../../block/options/nbd-uri.js';
import type { Address, Host, TlsCredentials } from '../../host/ports.js';
import { BaseCommand } from '../base.js';
import { UsageError } from '../options/argv.js';

export class NbdServe extends BaseCommand {
  static override readonly summary = 'serve an image over NBD';
  static override readonly description =
    'Ends with SIGINT or SIGTERM, when what clients wrote is durable. With --json one line on ' +
    'standard output says when clients may come, and where to. Without TLS whoever reaches ' +
    'the address may read and write the image.';
  static override readonly examples = [
    '<%= config.bin %> nbd serve disk.qcow2 --socket /run/disk.sock',
    '<%= config.bin %> nbd serve disk.img --format raw --bind 127.0.0.1 --port 10809 --read-only',
    '<%= config.bin %> nbd serve disk.img --bind :: --tls-creds /etc/pki/nbd --tls-verify-peer',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ ignoreStdin: true, required: true, description: 'the image' }),
  };
  static override readonly flags = {
    format: Flags.string({
      char: 'f',
      helpValue: 'FMT',
      description: 'raw or qcow2; probed when not given',
    }),
    export: Flags.string({
      char: 'x',
      default: '',
      helpValue: 'NAME',
      description: 'name of the export; empty unless given',
    }),
    'read-only': Flags.boolean({ char: 'r', default: false, description: 'clients may not write' }),
    socket: Flags.string({
      char: 'k',
      helpValue: 'PATH',
      description: 'listen on a unix socket',
      exclusive: ['bind', 'port'],
    }),
    bind: Flags.string({
      char: 'b',
      helpValue: 'HOST',
      description: 'listen on this address; 127.0.0.1 if only a port is given',
    }),
    port: Flags.integer({
      char: 'p',
      min: 0,
      max: 65535,
      helpValue: 'N',
      description: `TCP port, ${NBD_PORT} unless given; 0: any`,
    }),
    shared: Flags.integer({
      char: 'e',
      min: 1,
      max: 1024,
      default: 16,
      helpValue: 'N',
      description: 'clients at once; more are turned away',
    }),
    persistent: Flags.boolean({
      char: 't',
      default: true,
      allowNo: true,
      description: 'go on when the last client has left',
    }),
    'tls-creds': Flags.string({
      helpValue: 'DIR',
      description: 'TLS by certificates: ca-cert.pem, server-cert.pem, server-key.pem',
      exclusive: ['tls-psk'],
    }),
    'tls-verify-peer': Flags.boolean({
      description: 'clients need a certificate of that CA',
      dependsOn: ['tls-creds'],
    }),
    'tls-psk': Flags.string({
      helpValue: 'FILE',
      description: 'TLS by pre-shared keys: lines of NAME:HEX',
    }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(NbdServe);
    const address = listenAddress(flags);
    const ended = new Promise<void>(resolve => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    });
    const [{ openImage }, { NbdServer }, { defaultServerLimits }, { nodeHost }] = await Promise.all(
      [
        import('../../block/image/open.js'),
        import('../../block/nbd/server.js'),
        import('../../block/nbd/server-protocol.js'),
        import('../../host/node/host.js'),
      ],
    );
    // Nothing but the image is served here.
    const host = nodeHost({ writesAtOnce: true });
    const credentials = await readCredentials(host, flags);
    const tls = credentials && {
      value: host.sockets.tls!('server', credentials),
      dispose: () => undefined,
    };
    const image = await openImage(host, args.file, {
      format: flags.format,
      readOnly: flags['read-only'],
    });
    const server = new NbdServer(host, { ...defaultServerLimits, clients: flags.shared });
    const deserted = new Promise<void>(
      resolve => (server.onClientGone = left => left === 0 && !flags.persistent && resolve()),
    );
    try {
      const bound = await server.start(address, tls);
      server.add(flags.export, image.node, !flags['read-only']);
      if (!tls && reachableFromElsewhere(bound))
        this.warn(
          `${printable(bound)} can be reached from other hosts, and without TLS everybody ` +
            `there may ${flags['read-only'] ? 'read' : 'read and write'} '${args.file}'`,
        );
      this.ready({
        file: args.file,
        format: image.format,
        export: flags.export,
        bound,
        readOnly: image.node.readOnly,
        tls: tls !== undefined,
      });
      await Promise.race([ended, deserted]);
    } finally {
      if (server.address) await server.stop();
      if (address.kind === 'unix') await unlink(address.path).catch(() => undefined);
      if (!image.node.readOnly) await image.node.flush();
      await image.close();
    }
  }

  /** For a machine one line of JSON, with the port that the system chose if 0 was asked. */
  private ready(served: Served): void {
    const { file, format, bound, tls } = served;
    if (this.jsonEnabled()) {
      const answer = {
        file,
        format,
        export: served.export,
        'read-only': served.readOnly,
        tls,
        address: bound,
        uri: uriOf(served),
      };
      process.stdout.write(`${JSON.stringify(answer)}\n`);
    } else this.note(`serving '${file}' (${format}) at ${printable(bound)}`);
  }
}

interface Served {
  file: string;
  format: string;
  export: string;
  bound: Address;
  readOnly: boolean;
  tls: boolean;
}

/** As a client wants it: nbd://HOST:PORT/EXPORT, nbds+unix:///EXPORT?socket=PATH. */
function uriOf({ bound, export: name, tls }: Served): string {
  const scheme = tls ? 'nbds' : 'nbd';
  const path = encodeURIComponent(name);
  if (bound.kind === 'unix')
    return `${scheme}+unix:///${path}?socket=${encodeURIComponent(resolve(bound.path))}`;
  const host = isIP(bound.host) === 6 ? `[${bound.host}]` : bound.host;
  return `${scheme}://${host}:${bound.port}/${path}`;
}

function listenAddress(flags: { socket?: string; bind?: string; port?: number }): Address {
  if (flags.socket !== undefined) return { kind: 'unix', path: flags.socket };
  if (flags.bind === undefined && flags.port === undefined)
    throw new UsageError('say where to listen: --socket PATH, or --bind HOST --port N');
  return { kind: 'tcp', host: flags.bind ?? '127.0.0.1', port: flags.port ?? NBD_PORT };
}

async function readCredentials(
  { files }: Host,
  flags: { 'tls-creds'?: string; 'tls-verify-peer'?: boolean; 'tls-psk'?: string },
): Promise<TlsCredentials | undefined> {
  const { loadPsk, loadX509 } = await import('../../host/tls-creds.js');
  if (flags['tls-creds'] !== undefined)
    return loadX509(files, {
      dir: flags['tls-creds'],
      endpoint: 'server',
      verifyPeer: flags['tls-verify-peer'] ?? false,
    });
  return flags['tls-psk'] === undefined
    ? undefined
    : loadPsk(files, { path: flags['tls-psk'], endpoint: 'server' });
}

const printable = (address: Address) =>
  address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** A name is taken for what it says. */
function reachableFromElsewhere(address: Address): boolean {
  if (address.kind === 'unix' || address.host === 'localhost') return false;
  const family = isIP(address.host);
  return family === 0 || !loopback.check(address.host, family === 6 ? 'ipv6' : 'ipv4');
}
