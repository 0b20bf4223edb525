/**
 * `colo image check`. Exit codes are qemu-img's: 0 good, 1 not checked, 2 corrupt, 3 leaks only, 63
 * the format has no check.
 */
import type { ByteProgress } from '../../block/contract/driver.js';
import type { CheckResult, Repair } from '../../block/drivers/qcow2/check.js';
import type { BlockHost } from '../../block/graph/graph.js';
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
    const repair = (flags.repair ?? 'none') as Repair;
    const host = this.hostFor({ cache: flags.cache, shared: flags['force-share'] });
    const progress = await this.progress(flags.progress);
    const result = await checkFile(host, args.file, { format: flags.format, repair, progress });
    if (!result) {
      this.note('This image format does not support checks');
      process.exitCode = 63;
      return { filename: args.file, 'check-errors': 0 };
    }
    process.exitCode = result.corruptions > 0 ? 2 : result.leaks > 0 ? 3 : 0;
    if (!flags.quiet) {
      for (const message of result.messages) this.note(message);
      for (const paragraph of findings(result)) this.print(paragraph);
    }
    return answer(args.file, result);
  }
}

/** undefined: the format has nothing to check. */
async function checkFile(
  host: BlockHost,
  filename: string,
  options: { format?: string; repair: Repair; progress?: ByteProgress },
): Promise<CheckResult | undefined> {
  const [{ checkedFormat, withFile }, { checkQcow2 }, { readHeader }, { isQcow2 }] =
    await Promise.all([
      import('../../block/image/open.js'),
      import('../../block/drivers/qcow2/check.js'),
      import('../../block/drivers/qcow2/image.js'),
      import('../../block/drivers/qcow2/header.js'),
    ]);
  const { format, repair, progress } = options;
  return withFile(host, filename, repair === 'none', async file => {
    const qcow2 =
      format === undefined
        ? isQcow2(await file.pread(0, Math.min(512, file.length)))
        : checkedFormat(format) === 'qcow2';
    return qcow2 ? checkQcow2(file, await readHeader(file), repair, progress) : undefined;
  }).catch((error: unknown) => {
    throw withExit(whenLocked(error, repair === 'none'), 1);
  });
}

/** For people, in qemu-img's words. */
function findings(result: CheckResult): string[] {
  const { allocated, total, fragmented, compressed, corruptions, leaks } = result;
  const out: string[] = [];
  if (result.leaksFixed + result.corruptionsFixed > 0)
    out.push(
      `The following inconsistencies were found and repaired:\n\n    ${result.leaksFixed} ` +
        `leaked clusters\n    ${result.corruptionsFixed} corruptions\n`,
    );
  if (corruptions + leaks === 0) out.push('No errors were found on the image.');
  if (corruptions > 0)
    out.push(
      `\n${corruptions} errors were found on the image.\nData may be corrupted, or ` +
        'further writes to the image may corrupt it.',
    );
  if (leaks > 0)
    out.push(
      `\n${leaks} leaked clusters were found on the image.\nThis means waste of ` +
        'disk space, but no harm to data.',
    );
  const part = (n: number, of: number) => (of === 0 ? '0.00' : ((100 * n) / of).toFixed(2));
  out.push(
    `${allocated}/${total} = ${part(allocated, total)}% ` +
      `allocated, ${part(fragmented, allocated)}% fragmented, ` +
      `${part(compressed, allocated)}% compressed clusters\nImage end offset: ` +
      `${result.imageEnd}`,
  );
  return out;
}

/** For programs. */
function answer(filename: string, result: CheckResult) {
  return {
    filename,
    format: 'qcow2',
    'check-errors': 0,
    corruptions: result.corruptions,
    leaks: result.leaks,
    'corruptions-fixed': result.corruptionsFixed,
    'leaks-fixed': result.leaksFixed,
    'image-end-offset': result.imageEnd,
    'allocated-clusters': result.allocated,
    'total-clusters': result.total,
    'fragmented-clusters': result.fragmented,
    'compressed-clusters': result.compressed,
  };
}
