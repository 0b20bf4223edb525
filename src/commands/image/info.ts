/** `colo image info` and `colo image snapshot -l`. */
import { printable } from '../../base/printable.js';
import { stat } from 'node:fs/promises';
import { inRole } from '../../block/contract/roles.js';
import type { ImageRecord } from '../../block/record/image-record.js';
import { protocolOf } from '../../block/contract/node.js';
import type { PairRecord } from '../../block/record/pair-record.js';
import type { OpenedImage } from '../../block/image/open.js';
import type { Snapshot } from '../../block/drivers/qcow2/snapshots.js';
import { Args, Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { formatFlag, ImageCommand, inWords, outputFlag, sharedFlag } from './image-command.js';
import { recordLines } from './record.js';

const fileArg = Args.string({ required: true, description: 'the image' });

export class ImageInfo extends ImageCommand {
  static override readonly summary = 'say what an image is';
  static override readonly examples = [
    '<%= config.bin %> image info disk.qcow2',
    '<%= config.bin %> image info --backing-chain --json overlay.qcow2',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { file: fileArg };
  static override readonly flags = {
    format: formatFlag,
    output: outputFlag,
    'force-share': sharedFlag,
    'backing-chain': Flags.boolean({ description: 'all images below as well' }),
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageInfo);
    const seen = new Set<string>();
    const all: Record<string, unknown>[] = [];
    for (let name: string | undefined = args.file, format = flags.format; name !== undefined;) {
      if (seen.has(name)) throw new UsageError(`the backing chain leads back to '${name}'`);
      seen.add(name);
      const image = await this.openImage(name, {
        format,
        readOnly: true,
        backing: false,
        shared: flags['force-share'],
      });
      const info = await describe(image, name).finally(() => image.close());
      all.push(info);
      name = flags['backing-chain']
        ? (info['full-backing-filename'] as string | undefined)
        : undefined;
      format = info['backing-filename-format'] as string | undefined;
    }
    all.forEach((info, n) => this.show(info, n > 0));
    return flags['backing-chain'] ? all : all[0];
  }

  private show(info: Record<string, unknown>, next: boolean): void {
    if (next) this.print('');
    this.print(`image: ${String(info['filename'])}\nfile format: ${String(info['format'])}`);
    this.print(
      `virtual size: ${inWords(info['virtual-size'] as number)} ` +
        `(${String(info['virtual-size'])} bytes)\ndisk size: ` +
        `${inWords(info['actual-size'] as number)}`,
    );
    if (info['cluster-size'] !== undefined)
      this.print(`cluster_size: ${info['cluster-size'] as number}`);
    if (info['backing-filename'] !== undefined)
      this.print(
        `backing file: ${printable(info['backing-filename'] as string)}\nbacking file format: ` +
          `${printable(info['backing-filename-format'] as string)}`,
      );
    if (Array.isArray(info['snapshots']))
      this.print(snapshotTable(info['snapshots'] as SnapshotInfo[]));
    if (typeof info['pair-problem'] === 'string') this.print(info['pair-problem']);
    if (info['pair'] !== undefined) this.print(recordLines(info['pair'] as PairRecord).join('\n'));
    const specific = info['format-specific'] as { data: Record<string, unknown> } | undefined;
    if (specific)
      this.print(
        `Format specific information:\n${Object.entries(specific.data)
          .map(([key, value]) => `    ${key.replaceAll('-', ' ')}: ${printable(String(value))}`)
          .join('\n')}`,
      );
  }
}

export class ImageSnapshot extends ImageCommand {
  static override readonly summary = 'list the snapshots inside an image';
  static override readonly enableJsonFlag = true;
  static override readonly args = { file: fileArg };
  static override readonly flags = {
    list: Flags.boolean({
      char: 'l',
      default: true,
      description: 'list them: all that is offered',
    }),
    format: formatFlag,
    'force-share': sharedFlag,
  };

  async run(): Promise<unknown> {
    const { args, flags } = await this.parse(ImageSnapshot);
    const image = await this.openImage(args.file, {
      format: flags.format,
      readOnly: true,
      backing: false,
      shared: flags['force-share'],
    });
    const list = (image.qcow2?.snapshots ?? []).map(snapshotInfo);
    await image.close();
    if (list.length > 0) this.print(snapshotTable(list));
    return list;
  }
}

type SnapshotInfo = ReturnType<typeof snapshotInfo>;
const snapshotInfo = (s: Snapshot) => ({
  id: s.id,
  name: s.name,
  'vm-state-size': s.vmStateBytes,
  'date-sec': s.dateSeconds,
  'date-nsec': s.dateNanoseconds,
  'vm-clock-sec': Number(s.vmClockNs / 1_000_000_000n),
  'vm-clock-nsec': Number(s.vmClockNs % 1_000_000_000n),
});

function snapshotTable(list: readonly SnapshotInfo[]): string {
  const line = (id: string, tag: string, size: string, date: string) =>
    `${id.padEnd(10)}${tag.padEnd(18)}${size.padStart(9)}  ${date}`;
  const rows = list.map(s =>
    line(
      printable(s.id),
      printable(s.name),
      inWords(s['vm-state-size']),
      new Date(s['date-sec'] * 1000).toISOString().replace('T', ' ').slice(0, 19),
    ),
  );
  return ['Snapshot list:', line('ID', 'TAG', 'VM SIZE', 'DATE'), ...rows].join('\n');
}

/** What it knows of its pair. */
function recordOf({ node }: OpenedImage): ImageRecord | undefined {
  return inRole('file', protocolOf(node))?.record;
}

async function describe(image: OpenedImage, filename: string): Promise<Record<string, unknown>> {
  const { blocks } = await stat(filename);
  const info: Record<string, unknown> = {
    filename,
    format: image.format,
    'virtual-size': image.node.length,
    'actual-size': blocks * 512,
    'dirty-flag': false,
  };
  const record = recordOf(image);
  if (record?.problem) info['pair-problem'] = record.problem.message;
  if (record?.value) info['pair'] = record.value;
  if (!image.qcow2) return info;
  const [{ Incompatible }, { nextTo }] = await Promise.all([
    import('../../block/drivers/qcow2/header.js'),
    import('../../block/graph/backing.js'),
  ]);
  const { header, snapshots } = image.qcow2;
  info['dirty-flag'] = (header.incompatible & Incompatible.DIRTY) !== 0;
  info['cluster-size'] = header.clusterSize;
  if (header.backingFile !== undefined) {
    info['backing-filename'] = header.backingFile;
    info['full-backing-filename'] = nextTo(image.file, header.backingFile);
    if (header.backingFormat !== undefined) info['backing-filename-format'] = header.backingFormat;
  }
  if (snapshots.length > 0) info['snapshots'] = snapshots.map(snapshotInfo);
  const data: Record<string, unknown> = {
    compat: header.version === 3 ? '1.1' : '0.10',
    'compression-type': header.compression,
  };
  if (header.version === 3)
    Object.assign(data, {
      'lazy-refcounts': (header.compatible & 1) !== 0,
      'refcount-bits': header.refcountBits,
      corrupt: (header.incompatible & Incompatible.CORRUPT) !== 0,
      'extended-l2': false,
    });
  info['format-specific'] = { type: 'qcow2', data };
  return info;
}
