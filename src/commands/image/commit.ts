/** `colo image commit`. */
import { Args, Flags } from '../flags.js';
import { cacheFlag, formatFlag, ImageCommand, progressFlag, quietFlag } from './image-command.js';

export class ImageCommit extends ImageCommand {
  static override readonly summary = 'move what an image holds into its backing file';
  static override readonly description =
    'The image is empty afterwards, and reads the same. With -b another image of the chain ' +
    'than the nearest receives it, and nothing is emptied.';
  static override readonly examples = [
    '<%= config.bin %> image commit overlay.qcow2',
    '<%= config.bin %> image commit -d -p -b base.qcow2 overlay.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image above' }),
  };
  static override readonly flags = {
    format: formatFlag,
    base: Flags.string({
      char: 'b',
      helpValue: 'FILE',
      description: 'the image that receives; the backing file',
    }),
    drop: Flags.boolean({
      char: 'd',
      description: 'leave the image as it is: nobody will use it any more',
    }),
    cache: cacheFlag('t', 'writeback'),
    progress: progressFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageCommit);
    const { commitImage } = await import('../../block/tools/commit.js');
    const image = await this.openImage(args.file, {
      format: flags.format,
      readOnly: false,
      cache: flags.cache,
    });
    try {
      await commitImage(image, {
        base: flags.base,
        keep: flags.drop,
        progress: await this.progress(flags.progress && !flags.quiet),
      });
    } finally {
      await image.close();
    }
    if (!flags.quiet) this.print('Image committed.');
    return { filename: args.file, emptied: !flags.drop && flags.base === undefined };
  }
}
