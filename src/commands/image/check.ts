/**
 * `colo image check`. Exit codes are qemu-img's: 0 good, 1 not checked, 2 corrupt, 3 leaks only, 63
 * the format has no check.
 */
import type { Repair } from '../../block/drivers/qcow2/check.js';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import {
  cacheFlag,
  formatFlag,
  ImageCommand,
  outputFlag,
  progressFlag,
  quietFlag,
  sharedFlag,
  whenLocked,
  withExit,
} from './image-command.js';

export class ImageCheck extends ImageCommand {
  static override readonly summary = 'check an image, and repair its refcounts';
  static override readonly description =
    'Exit codes: 0 good, 1 not checked, 2 corrupt, 3 leaks only, 63 the format has nothing to ' +
    'check.';
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image' }),
  };
  static override readonly flags = {
    format: formatFlag,
    output: outputFlag,
    repair: Flags.string({
      char: 'r',
      options: ['leaks', 'all'],
      description:
        'leaks: give back clusters that nobody refers to; all: make every refcount right',
    }),
    progress: progressFlag,
    cache: cacheFlag('T', 'writeback'),
    'force-share': sharedFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageCheck);
    if (flags.repair !== undefined && flags['force-share'])
      throw new UsageError('-r and -U exclude each other');
    const [{ checkedFormat, withFile }, { checkQcow2 }, { readHeader }, { isQcow2 }] =
      await Promise.all([
        import('../../block/image/open.js'),
        import('../../block/drivers/qcow2/check.js'),
        import('../../block/drivers/qcow2/driver.js'),
        import('../../block/drivers/qcow2/header.js'),
      ]);
    const repair = (flags.repair ?? 'none') as Repair;
    const result = await withFile(
      this.hostFor({ cache: flags.cache, shared: flags['force-share'] }),
      args.file,
      repair === 'none',
      async file => {
        const qcow2 =
          flags.format === undefined
            ? isQcow2(await file.pread(0, Math.min(512, file.length)))
            : checkedFormat(flags.format) === 'qcow2';
        return qcow2
          ? checkQcow2(file, await readHeader(file), repair, await this.progress(flags.progress))
          : undefined;
      },
    ).catch((error: unknown) => {
      throw withExit(whenLocked(error, repair === 'none'), 1);
    });
    if (!result) {
      this.note('This image format does not support checks');
      process.exitCode = 63;
      return { filename: args.file, 'check-errors': 0 };
    }
    process.exitCode = result.corruptions > 0 ? 2 : result.leaks > 0 ? 3 : 0;
    if (!flags.quiet) {
      for (const message of result.messages) this.note(message);
      if (result.leaksFixed + result.corruptionsFixed > 0)
        this.print(
          `The following inconsistencies were found and repaired:\n\n    ${result.leaksFixed} ` +
            `leaked clusters\n    ${result.corruptionsFixed} corruptions\n`,
        );
      if (result.corruptions + result.leaks === 0) this.print('No errors were found on the image.');
      if (result.corruptions > 0)
        this.print(
          `\n${result.corruptions} errors were found on the image.\nData may be corrupted, or ` +
            'further writes to the image may corrupt it.',
        );
      if (result.leaks > 0)
        this.print(
          `\n${result.leaks} leaked clusters were found on the image.\nThis means waste of ` +
            'disk space, but no harm to data.',
        );
      const part = (n: number, of: number) => (of === 0 ? '0.00' : ((100 * n) / of).toFixed(2));
      this.print(
        `${result.allocated}/${result.total} = ${part(result.allocated, result.total)}% ` +
          `allocated, ${part(result.fragmented, result.allocated)}% fragmented, ` +
          `${part(result.compressed, result.allocated)}% compressed clusters\nImage end offset: ` +
          `${result.imageEnd}`,
      );
    }
    const {
      corruptions,
      leaks,
      corruptionsFixed,
      leaksFixed,
      imageEnd,
      allocated,
      total,
      fragmented,
      compressed,
    } = result;
    return {
      filename: args.file,
      format: 'qcow2',
      'check-errors': 0,
      corruptions,
      leaks,
      'corruptions-fixed': corruptionsFixed,
      'leaks-fixed': leaksFixed,
      'image-end-offset': imageEnd,
      'allocated-clusters': allocated,
      'total-clusters': total,
      'fragmented-clusters': fragmented,
      'compressed-clusters': compressed,
    };
  }
}
