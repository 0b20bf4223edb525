/** `colo image create`. */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { ImageCommand, quietFlag } from './image-command.js';

export class ImageCreate extends ImageCommand {
  static override readonly summary = 'make a new disk image';
  static override readonly examples = [
    '<%= config.bin %> image create -f qcow2 disk.qcow2 20G',
    '<%= config.bin %> image create -f qcow2 -b base.qcow2 -F qcow2 overlay.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image; an old one is overwritten' }),
    size: Args.string({
      description: 'bytes, or with a suffix k, M, G, T; that of the backing file if left out',
    }),
  };
  static override readonly flags = {
    format: Flags.string({
      char: 'f',
      default: 'raw',
      helpValue: 'FMT',
      description: 'raw or qcow2',
    }),
    backing: Flags.string({
      char: 'b',
      helpValue: 'FILE',
      description: 'the image that is read where this one holds nothing',
    }),
    'backing-format': Flags.string({
      char: 'F',
      helpValue: 'FMT',
      description: 'format of the backing file',
    }),
    options: Flags.string({
      char: 'o',
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'K=V,...',
      description:
        'preallocation (off, metadata, falloc, full); qcow2: compat, cluster_size, ' +
        'refcount_bits, lazy_refcounts, compression_type, backing_file, backing_fmt',
    }),
    unsafe: Flags.boolean({ char: 'u', description: 'do not open the backing file' }),
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageCreate);
    const [{ checkedFormat, createImage }, { parseCreateOptions }] = await Promise.all([
      import('../../block/image/open.js'),
      import('../../block/tools/create-options.js'),
    ]);
    const format = checkedFormat(flags.format);
    const given = parseCreateOptions(flags.options ?? [], format);
    const backingFile = flags.backing ?? given.backingFile;
    const backingFormat = flags['backing-format'] ?? given.backingFormat;
    let size = args.size === undefined ? given.size : this.size(args.size);
    if (backingFile !== undefined) {
      if (format !== 'qcow2') throw new UsageError(`format '${format}' has no backing file`);
      if (backingFormat === undefined)
        throw new UsageError('backing file specified without backing format', {
          hint: 'Say it with -F: an image that is probed may be taken for something else.',
        });
      checkedFormat(backingFormat);
      if (!flags.unsafe || size === undefined)
        size = await this.backingSize(
          resolve(dirname(args.file), backingFile),
          backingFormat,
          size,
        );
    } else if (backingFormat !== undefined) throw new UsageError('-F needs -b');
    if (size === undefined) throw new UsageError('Image creation needs a size parameter');
    await this.refuseDirectory(args.file);
    await createImage(this.host, args.file, format, {
      ...given,
      size: Math.ceil(size / 512) * 512,
      backingFile,
      backingFormat,
    });
    const backing =
      backingFile === undefined ? '' : ` backing_file=${backingFile} backing_fmt=${backingFormat}`;
    if (!flags.quiet) this.print(`Formatting '${args.file}', fmt=${format} size=${size}${backing}`);
    return { filename: args.file, format, 'virtual-size': size };
  }

  private async backingSize(
    path: string,
    format: string,
    size: number | undefined,
  ): Promise<number> {
    const { openImage } = await import('../../block/image/open.js');
    const backing = await openImage(this.host, path, { format, readOnly: true });
    const { length } = backing.node;
    await backing.close();
    return size ?? length;
  }

  private async refuseDirectory(path: string): Promise<void> {
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory()) throw new UsageError(`'${path}' is a directory`);
  }
}
