/** `colo image bench`. */
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { cacheFlag, formatFlag, ImageCommand, quietFlag, sharedFlag } from './image-command.js';

export class ImageBench extends ImageCommand {
  static override readonly summary = 'put a simple load on an image and say how long it took';
  static override readonly examples = [
    '<%= config.bin %> image bench -c 10000 -d 32 disk.qcow2',
    '<%= config.bin %> image bench -w --pattern 1 -s 64k --flush-interval 100 scratch.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image; with -w what it holds is lost' }),
  };
  static override readonly flags = {
    format: formatFlag,
    count: Flags.integer({ char: 'c', default: 75_000, min: 1, description: 'requests' }),
    depth: Flags.integer({
      char: 'd',
      default: 64,
      min: 1,
      max: 4096,
      description: 'requests at once',
    }),
    'buffer-size': Flags.string({
      char: 's',
      default: '4k',
      helpValue: 'SIZE',
      description: 'bytes of each',
    }),
    step: Flags.string({
      char: 'S',
      helpValue: 'SIZE',
      description: 'from one to the next; the size of one',
    }),
    offset: Flags.string({
      char: 'o',
      default: '0',
      helpValue: 'OFFSET',
      description: 'where the first one is',
    }),
    write: Flags.boolean({ char: 'w', description: 'write, in place of reading' }),
    pattern: Flags.integer({
      min: 0,
      max: 255,
      dependsOn: ['write'],
      description: 'what is written',
    }),
    'flush-interval': Flags.integer({
      min: 0,
      dependsOn: ['write'],
      description: 'a flush after so many writes',
    }),
    'no-drain': Flags.boolean({
      dependsOn: ['flush-interval'],
      description: 'do not wait for the others before a flush',
    }),
    cache: cacheFlag('t', 'writeback'),
    'force-share': sharedFlag,
    quiet: quietFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageBench);
    if (flags.write && flags['force-share']) throw new UsageError('-w and -U exclude each other');
    const bytes = this.sectors('-s', flags['buffer-size']);
    const step = flags.step === undefined ? bytes : this.sectors('-S', flags.step);
    const offset = this.sectors('-o', flags.offset);
    if (bytes === 0 || bytes > 64 * 1024 * 1024)
      throw new UsageError('-s takes from 512 bytes to 64 MiB');
    const { runBench } = await import('../../block/tools/bench.js');
    const image = await this.openImage(args.file, {
      format: flags.format,
      readOnly: !flags.write,
      cache: flags.cache,
      shared: flags['force-share'],
    });
    try {
      if (offset + bytes > image.node.length)
        throw new UsageError(
          `a request of ${bytes} bytes at ${offset} does not fit the image, ` +
            `${image.node.length} bytes`,
        );
      const { count, depth, write, pattern } = flags;
      if (!flags.quiet)
        this.print(
          `Sending ${count} ${write ? 'write' : 'read'} requests, ${bytes} bytes each, ` +
            `${depth} in parallel (starting at offset ${offset}, step size ${step})`,
        );
      const { seconds } = await runBench(
        image.node,
        {
          count,
          depth,
          bytes,
          step,
          offset,
          write,
          pattern: pattern ?? 0,
          flushEvery: flags['flush-interval'] ?? 0,
          drain: !flags['no-drain'],
        },
        () => this.host.clock.nowMs(),
      );
      if (!flags.quiet) this.print(`Run completed in ${seconds.toFixed(3)} seconds.`);
      return {
        filename: args.file,
        requests: count,
        'bytes-each': bytes,
        seconds,
        'requests-per-second': Math.round(count / seconds),
        'bytes-per-second': Math.round((count * bytes) / seconds),
      };
    } finally {
      await image.close();
    }
  }

  private sectors(flag: string, text: string): number {
    const bytes = text === '0' ? 0 : this.exactSize(text);
    if (bytes % 512 !== 0)
      throw new UsageError(`${flag} takes whole sectors of 512 bytes, not ${text}`);
    return bytes;
  }
}
