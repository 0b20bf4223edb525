/** `colo image rebase`. */
import { asVmError, VmError } from '../../base/errors.js';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import {
  cacheFlag,
  formatFlag,
  ImageCommand,
  progressFlag,
  quietFlag,
  sharedFlag,
} from './image-command.js';

export class ImageRebase extends ImageCommand {
  static override readonly summary = 'give an image another backing file, or none';
  static override readonly description =
    'The image reads as before: what the old and the new backing file differ in is written ' +
    'into it. With -u only the name changes, for a backing file that was moved; its content ' +
    'must be the same.';
  static override readonly examples = [
    '<%= config.bin %> image rebase -b newer.qcow2 -F qcow2 overlay.qcow2',
    "<%= config.bin %> image rebase -b '' overlay.qcow2",
    '<%= config.bin %> image rebase -u -b /new/place/base.qcow2 -F qcow2 overlay.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image above' }),
  };
  static override readonly flags = {
    format: formatFlag,
    backing: Flags.string({
      char: 'b',
      helpValue: 'FILE',
      description: "the new backing file; '' or left out: none, the image holds everything itself",
    }),
    'backing-format': Flags.string({ char: 'F', helpValue: 'FMT', description: 'its format' }),
    unsafe: Flags.boolean({ char: 'u', description: 'change the name and nothing else' }),
    cache: cacheFlag('t', 'writeback'),
    'source-cache': cacheFlag('T', 'writeback', ' of the new backing file'),
    'force-share': sharedFlag,
    progress: progressFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageRebase);
    const [{ checkedFormat }, { changeBacking, rebaseImage }] = await Promise.all([
      import('../../block/image/open.js'),
      import('../../block/tools/rebase.js'),
    ]);
    const name = flags.backing === '' ? undefined : flags.backing;
    const given = flags['backing-format'];
    if (given !== undefined) checkedFormat(given);
    if (name !== undefined && given === undefined)
      throw new VmError(
        `Could not change the backing file to '${name}': backing format must be specified`,
        { hint: 'Say it with -F: an image that is probed may be taken for something else.' },
      );
    if (flags.unsafe && flags['force-share'])
      throw new UsageError('-u and -U exclude each other: nothing but the image is opened');
    const backing = name === undefined ? undefined : { name, format: given! };
    const image = await this.openImage(args.file, {
      format: flags.format,
      readOnly: false,
      backing: !flags.unsafe,
      cache: flags.cache,
    });
    try {
      if (flags.unsafe || !image.qcow2) await changeBacking(image, backing);
      else {
        const { nextTo } = await import('../../block/graph/backing.js');
        const target =
          backing &&
          (await this.openImage(nextTo(image.file, backing.name), {
            format: given,
            readOnly: true,
            cache: flags['source-cache'],
            shared: flags['force-share'],
          }).catch((error: unknown) => {
            throw asVmError(error).during(`Could not open new backing file '${backing.name}'`);
          }));
        try {
          await rebaseImage(
            image,
            target?.node,
            backing,
            await this.progress(flags.progress && !flags.quiet),
          );
        } finally {
          await target?.close();
        }
      }
    } finally {
      await image.close();
    }
    return { filename: args.file, 'backing-filename': name };
  }
}
