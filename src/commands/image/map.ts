/** `colo image map`: which image of a chain holds what, and where. */
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { formatFlag, ImageCommand, outputFlag, sharedFlag } from './image-command.js';

export class ImageMap extends ImageCommand {
  static override readonly summary = 'say which parts of an image are held where';
  static override readonly description =
    'The table has what stands in a file as it is; --output=json has everything, with the ' +
    'depth of the image in the backing chain that it is told of.';
  static override readonly examples = [
    '<%= config.bin %> image map overlay.qcow2',
    '<%= config.bin %> image map --output=json --start-offset=1G --max-length=64M disk.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image' }),
  };
  static override readonly flags = {
    format: formatFlag,
    output: outputFlag,
    'start-offset': Flags.string({
      char: 's',
      helpValue: 'OFFSET',
      description: 'leave out what is before it',
    }),
    'max-length': Flags.string({
      char: 'l',
      helpValue: 'LEN',
      description: 'so many bytes at most',
    }),
    'force-share': sharedFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageMap);
    const bytes = (flag: string, text: string | undefined) =>
      text === undefined ? undefined : this.bytes(flag, text);
    const start = bytes('--start-offset', flags['start-offset']) ?? 0;
    const most = bytes('--max-length', flags['max-length']) ?? Infinity;
    const { mapImage, mapJson, mapLines } = await import('../../block/tools/map.js');
    const image = await this.openImage(args.file, {
      format: flags.format,
      readOnly: true,
      shared: flags['force-share'],
    });
    try {
      const entries = mapImage(image.node, start, Math.min(image.node.length, start + most));
      for await (const line of this.jsonEnabled() ? mapJson(entries) : mapLines(entries))
        process.stdout.write(`${line}\n`);
    } finally {
      await image.close();
    }
    return undefined;
  }

  private bytes(flag: string, text: string): number {
    if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
    const found = this.exactSize(text);
    if (!Number.isSafeInteger(found))
      throw new UsageError(`${flag} takes a number of bytes, not '${text}'`);
    return found;
  }
}
