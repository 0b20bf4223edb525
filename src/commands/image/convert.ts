/** `colo image convert` and `colo image compare`. */
import { VmError } from '../../base/errors.js';
import type { GivenOptions } from '../../block/tools/create-options.js';
import type { Format } from '../../block/image/open.js';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import {
  cacheFlag,
  formatFlag,
  ImageCommand,
  progressFlag,
  quietFlag,
  sharedFlag,
  whenLocked,
  withExit,
} from './image-command.js';

export class ImageConvert extends ImageCommand {
  static override readonly summary = 'copy an image into another format';
  static override readonly examples = [
    '<%= config.bin %> image convert -p -O qcow2 disk.img disk.qcow2',
    '<%= config.bin %> image convert -c -O qcow2 disk.qcow2 small.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    source: Args.string({ required: true, description: 'the image; with everything below it' }),
    target: Args.string({ required: true, description: 'the new image' }),
  };
  static override readonly flags = {
    format: formatFlag,
    'output-format': Flags.string({
      char: 'O',
      default: 'raw',
      helpValue: 'FMT',
      description: 'raw or qcow2',
    }),
    backing: Flags.string({
      char: 'B',
      helpValue: 'FILE',
      description:
        "the new image's backing file, equal to what is below the source's top image, which " +
        'alone is copied',
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
      description: 'as for create',
    }),
    compress: Flags.boolean({ char: 'c', description: 'compress clusters (qcow2)' }),
    'no-create': Flags.boolean({ char: 'n', description: 'the target exists, with its size' }),
    'target-is-zero': Flags.boolean({
      dependsOn: ['no-create'],
      description: 'the target reads as zeroes: they are not written',
    }),
    'sparse-size': Flags.string({
      char: 'S',
      default: '4k',
      helpValue: 'SIZE',
      description: 'zeroes of so many bytes are left out; 0: everything is written',
    }),
    coroutines: Flags.integer({
      char: 'm',
      default: 8,
      min: 1,
      max: 16,
      description: 'pieces at once',
    }),
    'out-of-order': Flags.boolean({
      char: 'W',
      description: 'the target may be written in any order, which it is anyway',
    }),
    cache: cacheFlag('t', 'unsafe', ' of the target'),
    'source-cache': cacheFlag('T', 'writeback', ' of the source'),
    'force-share': sharedFlag,
    progress: progressFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageConvert);
    const [{ checkedFormat, createImage }, { parseCreateOptions }, { copyImage }] =
      await Promise.all([
        import('../../block/image/open.js'),
        import('../../block/tools/create-options.js'),
        import('../../block/tools/copy.js'),
      ]);
    const sparseBytes = flags['sparse-size'] === '0' ? 0 : this.exactSize(flags['sparse-size']);
    if (sparseBytes % 512 !== 0) throw new UsageError('-S takes whole sectors of 512 bytes');
    if (flags.compress && sparseBytes === 0)
      throw new UsageError('-c and -S 0 exclude each other: a compressed image leaves zeroes out');
    const format = checkedFormat(flags['output-format']);
    if (flags.compress && format !== 'qcow2')
      throw new UsageError(`format '${format}' has no compression`);
    if (flags['no-create'] && flags.options)
      throw new UsageError('-n and -o exclude each other: the target is there already');
    const given = parseCreateOptions(flags.options ?? [], format);
    if (given.size !== undefined) throw new UsageError("convert takes no size: it is the source's");
    const backing = this.backingOf(flags, given, format);
    const source = await this.openImage(args.source, {
      format: flags.format,
      readOnly: true,
      cache: flags['source-cache'],
      shared: flags['force-share'],
    });
    try {
      const { cache } = flags;
      if (!flags['no-create'])
        await createImage(this.hostFor({ cache }), args.target, format, {
          ...given,
          ...backing,
          size: source.node.length,
        }).catch((error: unknown) => Promise.reject(whenLocked(error, false)));
      const target = await this.openImage(args.target, { format, readOnly: false, cache });
      try {
        if (target.node.length < source.node.length)
          throw new VmError(
            `the target is too small: ${target.node.length} bytes, the source has ` +
              `${source.node.length}`,
          );
        await copyImage(source.node, target.node, {
          unit: target.qcow2?.unit,
          targetIsZero:
            backing.backingFile === undefined && (!flags['no-create'] || flags['target-is-zero']),
          below:
            backing.backingFile === undefined ? undefined : source.node.children.get('backing'),
          sparseBytes,
          lanes: flags.coroutines,
          compress: flags.compress ? target.qcow2 : undefined,
          progress: await this.progress(flags.progress && !flags.quiet),
        });
      } finally {
        await target.close();
      }
      return {
        source: args.source,
        target: args.target,
        format,
        'virtual-size': source.node.length,
      };
    } finally {
      await source.close();
    }
  }

  private backingOf(
    flags: { backing?: string; 'backing-format'?: string; 'no-create': boolean },
    given: GivenOptions,
    format: Format,
  ): Pick<GivenOptions, 'backingFile' | 'backingFormat'> {
    const backingFile = flags.backing ?? given.backingFile;
    const backingFormat = flags['backing-format'] ?? given.backingFormat;
    if (backingFile === undefined && backingFormat !== undefined)
      throw new UsageError('-F needs -B');
    if (backingFile === undefined) return {};
    if (format !== 'qcow2') throw new UsageError(`format '${format}' has no backing file`);
    if (flags['no-create'])
      throw new UsageError(
        '-n and -B exclude each other: the target is there already, with what is below it',
      );
    if (backingFormat === undefined)
      throw new UsageError('backing file specified without backing format', {
        hint: 'Say it with -F: an image that is probed may be taken for something else.',
      });
    return { backingFile, backingFormat };
  }
}

export class ImageCompare extends ImageCommand {
  static override readonly summary = 'say whether two images have the same content';
  static override readonly description =
    'Exit codes: 0 identical, 1 different, 2 an image could not be opened or read.';
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    one: Args.string({ required: true, description: 'an image' }),
    two: Args.string({ required: true, description: 'another' }),
  };
  static override readonly flags = {
    format: formatFlag,
    'second-format': Flags.string({
      char: 'F',
      helpValue: 'FMT',
      description: 'format of the second image',
    }),
    cache: cacheFlag('T', 'writeback'),
    'force-share': sharedFlag,
    strict: Flags.boolean({
      char: 's',
      description: 'a different size is a difference, even if the rest is zeroes',
    }),
    progress: progressFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageCompare);
    const { firstDifference } = await import('../../block/tools/copy.js');
    const say = (line: string) => (flags.quiet ? undefined : this.print(line));
    const compare = async () => {
      const shared = flags['force-share'];
      const one = await this.openImage(args.one, {
        format: flags.format,
        readOnly: true,
        cache: flags.cache,
        shared,
      });
      try {
        const two = await this.openImage(args.two, {
          format: flags['second-format'],
          readOnly: true,
          cache: flags.cache,
          shared,
        });
        try {
          const sameSize = one.node.length === two.node.length;
          if (!sameSize && flags.strict)
            return { identical: false, text: 'Strict mode: Image size mismatch!', sameSize };
          const offset = await firstDifference(
            one.node,
            two.node,
            await this.progress(flags.progress),
          );
          return {
            identical: offset === undefined,
            offset,
            text:
              offset === undefined
                ? 'Images are identical.'
                : `Content mismatch at offset ${offset}!`,
            sameSize,
          };
        } finally {
          await two.close();
        }
      } finally {
        await one.close();
      }
    };
    const { text, identical, offset, sameSize } = await compare().catch((error: unknown) => {
      throw withExit(error, 2);
    });
    if (!sameSize && !flags.strict) say('Warning: Image size mismatch!');
    say(text);
    process.exitCode = identical ? 0 : 1;
    return { identical, 'same-size': sameSize, offset };
  }
}
