/** `colo image resize`. */
import { VmError } from '../../base/errors.js';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { formatFlag, ImageCommand, quietFlag } from './image-command.js';

export class ImageResize extends ImageCommand {
  static override readonly summary = 'make an image longer or shorter';
  static override readonly examples = [
    '<%= config.bin %> image resize disk.qcow2 +10G',
    '<%= config.bin %> image resize --shrink disk.img 1G',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image' }),
    size: Args.string({
      required: true,
      description: 'bytes; with + or - before it, by so much (-- before a minus)',
    }),
  };
  static override readonly flags = {
    format: formatFlag,
    shrink: Flags.boolean({
      description: 'really make it shorter: what is beyond the new end is lost',
    }),
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageResize);
    const [, sign, amount] = /^([+-]?)(.*)$/s.exec(args.size)!;
    const bytes = this.size(amount);
    const image = await this.openImage(args.file, { format: flags.format, readOnly: false });
    try {
      const old = image.node.length;
      const length = sign === '' ? bytes : sign === '+' ? old + bytes : old - bytes;
      if (length <= 0) throw new UsageError('the new size must be positive');
      if (length < old && !flags.shrink)
        throw new VmError('Use the --shrink option to perform a shrink operation.', {
          hint:
            'What is beyond the new end would be lost. Make file systems and partitions smaller ' +
            'first.',
        });
      await image.node.resize(length);
      await image.node.flush();
      if (!flags.quiet) this.print('Image resized.');
      return { filename: args.file, 'virtual-size': length };
    } finally {
      await image.close();
    }
  }
}
