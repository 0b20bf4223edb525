/** `colo nbd serve`: an image for NBD clients, until SIGINT or SIGTERM. */
import { unlink } from 'node:fs/promises';
import { Args, Flags } from '@oclif/core';
import type { Address } from '../../host/ports.js';
import { BaseCommand } from '../base.js';
import { UsageError } from '../options/argv.js';

const DEFAULT_PORT = 10809;

export class NbdServe extends BaseCommand {
  static override readonly summary = 'serve an image over NBD';
  static override readonly description = 'Any number of clients up to 16 at once. Ends with SIGINT or SIGTERM, when what clients wrote is durable.';
  static override readonly examples = ['<%= config.bin %> nbd serve disk.qcow2 --socket /run/disk.sock', '<%= config.bin %> nbd serve disk.img --format raw --bind 127.0.0.1 --port 10809 --read-only'];
  static override readonly args = { file: Args.string({ required: true, description: 'the image' }) };
  static override readonly flags = {
    format: Flags.string({ char: 'f', helpValue: 'FMT', description: 'raw or qcow2; probed when not given' }),
    export: Flags.string({ default: '', helpValue: 'NAME', description: 'name of the export; empty unless given' }),
    'read-only': Flags.boolean({ char: 'r', default: false, description: 'clients may not write' }),
    socket: Flags.string({ helpValue: 'PATH', description: 'listen on a unix socket', exclusive: ['bind', 'port'] }),
    bind: Flags.string({ helpValue: 'HOST', description: 'listen on this address' }),
    port: Flags.integer({ min: 0, max: 65535, helpValue: 'N', description: `TCP port, ${DEFAULT_PORT} unless given; 0: any`, dependsOn: ['bind'] }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(NbdServe);
    const address = listenAddress(flags);
    const ended = new Promise<void>(resolve => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    });
    const [{ openImage }, { NbdServer }, { nodeHost }] = await Promise.all([import('../../block/image/open.js'), import('../../block/nbd/server.js'), import('../../host/node/host.js')]);
    const host = nodeHost();
    const image = await openImage(host, args.file, { format: flags.format, readOnly: flags['read-only'] });
    const server = new NbdServer(host);
    try {
      const bound = await server.start(address);
      server.add(flags.export, image.node, !flags['read-only']);
      this.note(`serving '${args.file}' (${image.format}) at ${bound.kind === 'unix' ? bound.path : `${bound.host}:${bound.port}`}`);
      await ended;
    } finally {
      if (server.address) await server.stop();
      if (address.kind === 'unix') await unlink(address.path).catch(() => undefined);
      if (!image.node.readOnly) await image.node.flush();
      await image.close();
    }
  }
}

function listenAddress(flags: { socket?: string; bind?: string; port?: number }): Address {
  if (flags.socket !== undefined) return { kind: 'unix', path: flags.socket };
  if (flags.bind === undefined) throw new UsageError('say where to listen: --socket PATH, or --bind HOST --port N');
  return { kind: 'tcp', host: flags.bind, port: flags.port ?? DEFAULT_PORT };
}
