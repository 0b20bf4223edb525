/** `colo image record`: what an image knows of its pair, and the user's word against it. */
import { VmError } from '../../base/errors.js';
import type { ImageHost } from '../../block/drivers/file.js';
import type { ImageBitmap } from '../../block/record/image-bitmap.js';
import type { ImageRecord } from '../../block/record/image-record.js';
import type { PairRecord } from '../../block/record/pair-record.js';
import type { OpenFile } from '../../host/ports.js';
import { Args, Flags } from '../flags.js';
import { ImageCommand, whenLocked } from './image-command.js';

export class ImageRecordCommand extends ImageCommand {
  static override readonly summary = 'show, claim or clear what an image knows of its pair';
  static override readonly description =
    'An image that COLO has protected knows its pair, how often a side has gone on alone (the ' +
    'generation), and whether another image may have gone on from it. By this a stale side is ' +
    'kept from running, and newer data from being overwritten. --claim says that this image is ' +
    'the one to go on from: it begins a generation of its own, and its guest may run. --as gives ' +
    'it the record of another image of the same guest, which several disks must share. --clear ' +
    'takes the record away, with all that it protects from.';
  static override readonly examples = [
    '<%= config.bin %> image record disk.img',
    '<%= config.bin %> image record disk.img --claim',
    '<%= config.bin %> image record second.img --as disk.img',
    '<%= config.bin %> image record copy.img --clear',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({ required: true, description: 'the image' }),
  };
  static override readonly flags = {
    claim: Flags.boolean({
      exclusive: ['clear'],
      description: 'go on from this image: no other may',
    }),
    as: Flags.string({
      helpValue: 'IMAGE',
      exclusive: ['claim', 'clear'],
      description: 'take the record of another disk of this guest',
    }),
    clear: Flags.boolean({ description: 'take the record away' }),
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageRecordCommand);
    const readOnly = !flags.claim && !flags.clear && flags.as === undefined;
    const lock = readOnly ? 'none' : 'auto';
    const file = await this.host.files
      .open(args.file, { readOnly, lock })
      .catch((error: unknown) => {
        throw whenLocked(error, readOnly);
      });
    try {
      const { ImageRecord } = await import('../../block/record/image-record.js');
      const record = await ImageRecord.open(args.file, file.label);
      if (flags.clear) await clear(this.host, record, file);
      else if (flags.claim) await claim(record);
      else if (flags.as !== undefined) await copyRecord(await this.recordOf(flags.as), record);
      if (record.problem) throw record.problem;
      const bitmap = await bitmapOf(this.host, file);
      this.print(
        record.value
          ? [...recordLines(record.value), `bitmap: ${bitmap.summary}`].join('\n')
          : 'no record: it belongs to no pair',
      );
      await bitmap.release();
      return record.value ?? null;
    } finally {
      await file.close();
    }
  }

  private async recordOf(image: string): Promise<ImageRecord> {
    const { ImageRecord } = await import('../../block/record/image-record.js');
    const file = await this.host.files.open(image, { readOnly: true, lock: 'none' });
    return ImageRecord.open(image, file.label).finally(() => file.close());
  }
}

/** Its bitmap goes with it. */
async function clear(host: ImageHost, record: ImageRecord, file: OpenFile): Promise<void> {
  await record.clear();
  await (await bitmapOf(host, file)).remove();
}

async function bitmapOf({ files, clock }: ImageHost, file: OpenFile): Promise<ImageBitmap> {
  const { defaultIntentTimes: times, ImageBitmap: Bitmap } =
    await import('../../block/record/image-bitmap.js');
  const bitmap = new Bitmap({ files, clock, times }, () => file);
  await bitmap.load();
  return bitmap;
}

/** The disks of one guest are on one branch. */
async function copyRecord(from: ImageRecord, to: ImageRecord): Promise<void> {
  if (from.problem) throw from.problem;
  if (!from.value) throw new VmError(`image '${from.image}' has no record`);
  const { isHalf } = await import('../../colo/record.js');
  if (isHalf(to.value) || isHalf(from.value))
    throw notWhole(isHalf(to.value) ? to.image : from.image);
  await to.write(() => from.value);
}

const notWhole = (image: string) =>
  new VmError(`image '${image}' is not whole: nothing can go on from it`, {
    hint: `Copy it anew from the image that is, then: colo image record ${image} --clear`,
  });

async function claim(record: ImageRecord): Promise<void> {
  if (record.problem) throw record.problem;
  if (!record.value)
    throw new VmError(`image '${record.image}' has no record: there is nothing to claim`);
  const { isHalf, nextBranch } = await import('../../colo/record.js');
  if (isHalf(record.value)) throw notWhole(record.image);
  const { nodeEntropy } = await import('../../host/node/entropy.js');
  const branch = Buffer.alloc(16);
  nodeEntropy.fill(branch);
  await record.write(now => now && nextBranch(now, branch.toString('hex')));
}

/** For people. */
export function recordLines({
  pair,
  generation,
  role,
  state,
  partial,
  branch,
}: PairRecord): string[] {
  const whole = partial ? ', with part of an epoch' : '';
  return [
    `pair: ${pair}`,
    `generation: ${generation}, on branch ${branch.slice(0, 8)}`,
    `role: ${role}, ${state}${whole}`,
  ];
}
