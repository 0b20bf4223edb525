/**
 * `-drive`, `drive_add`, `-blockdev` and `blockdev-add`: options to a plain spec that the layer
 * builds. What is not implemented is refused by name.
 *
 *   file=nbd://H:P/E an NBD export; TLS and time-outs as file.tls-creds=ID, file.reconnect-delay=S
 *   file=F[,format=raw] an image; the same as driver=raw,file.driver=file,file.filename=F
 *   driver=quorum,children.0.file.filename=F    children are nodes, or names of nodes
 *   driver=replication,mode=primary,file.driver=nbd,file.host=H,file.port=P,file.export=E
 *   driver=replication,mode=secondary,file.driver=memory,file.backing=ID overlays that are left out
 *   are made in memory,
 *   driver=replication,mode=secondary,file=ID so this is the shortest form: ID is the drive that
 *   the NBD server exports
 */
import { VmError } from '../../base/errors.js';
import { type BlkdebugRules, readBlkdebugRules } from './blkdebug-rules.js';
import {
  type CacheMode,
  defaultErrors,
  type ErrorAction,
  type ErrorPolicy,
} from '../contract/backend.js';
import { defaultPolicy, type NodePolicy } from '../contract/node.js';
import { type NbdSpec, readNbd, readNbdUri } from './nbd.js';
import { isNbdUri } from './nbd-uri.js';
import { OptionTree } from './option-tree.js';
import { readThrottling, type ThrottleLimits } from './throttle-limits.js';

/**
 * fifo: child 0 answers reads, the next one when it fails, and child 0's result is that of a write.
 * quorum: the majority answers.
 */
export type ReadPattern = 'fifo' | 'quorum';

/** A node to make, or the name of one that exists. */
export type NodeSource = NodeSpec | { reference: string };

interface Common {
  nodeName?: string;
  readOnly: boolean;
  policy?: NodePolicy;
}
export type NodeSpec = Common &
  (
    | {
        driver: 'file';
        filename: string;
        lock: 'auto' | 'none';
        autoReadOnly?: boolean;
        direct?: boolean;
      }
    | { driver: 'raw'; file: NodeSource; probed: boolean }
    | { driver: 'qcow2'; file: NodeSource; backing?: NodeSource | 'none'; depth?: number }
    | { driver: 'memory'; size?: number; maxBytes: number; backing?: NodeSource }
    | NbdSpec
    | { driver: 'blkdebug'; image: NodeSource; rules: BlkdebugRules }
    | {
        driver: 'quorum';
        children: { name: string; source: NodeSource }[];
        voteThreshold: number;
        readPattern: ReadPattern;
        blkverify?: boolean;
        rewriteCorrupted?: boolean;
      }
    | {
        driver: 'replication';
        mode: 'primary';
        file: NodeSource;
        assumeInSync: boolean;
        maxRequests?: number;
        maxBytes?: number;
      }
    | {
        driver: 'replication';
        mode: 'secondary';
        file: NodeSource;
        assumeInSync: boolean;
        topId?: string;
      }
  );

/** `-drive if=`: what comes with it on the guest's side. */
export const driveInterfaces = ['virtio', 'ide', 'none'] as const;
export type DriveInterface = (typeof driveInterfaces)[number];

/** `-drive media=`. */
export const driveMedia = ['disk', 'cdrom'] as const;
export type DriveMedia = (typeof driveMedia)[number];

export interface DriveSpec {
  id?: string;
  interface: DriveInterface;
  /** Which of its interface it is; without an id it is called so. */
  index?: number;
  cache: CacheMode;
  errors: { write: ErrorPolicy; read: ErrorAction };
  throttle?: { limits: ThrottleLimits; group?: string };
  /** cdrom: read-only, its medium can be changed, and it may be empty. */
  media: DriveMedia;
  /** Absent: an empty drive. */
  root?: NodeSource;
}

/** What an overlay in memory may hold unless max-bytes says otherwise. */
export const DEFAULT_OVERLAY_BYTES = 1024 ** 3;

/** `-drive TEXT`. */
export function parseDrive(text: string): DriveSpec {
  return readDrive(OptionTree.parse(text));
}

export function readDrive(options: OptionTree): DriveSpec {
  const cache = readCache(options);
  const drive: Omit<DriveSpec, 'root' | 'media'> = {
    id: name(options, 'id'),
    interface: options.oneOf('if', driveInterfaces) ?? 'virtio',
    index: options.integer('index', 0, 255),
    cache: cache.mode,
    errors: {
      write: options.oneOf('werror', ['report', 'ignore', 'stop', 'enospc']) ?? defaultErrors.write,
      read: options.oneOf('rerror', ['report', 'ignore', 'stop']) ?? defaultErrors.read,
    },
    throttle: readThrottling(options),
  };
  refuseAio(options);
  const media = options.oneOf('media', driveMedia) ?? 'disk';
  if (media === 'cdrom') requireCdrom(drive.interface, options);
  if (media === 'cdrom' && !ofImage.some(key => options.has(key))) {
    options.end(' to an empty drive');
    return { ...drive, media };
  }
  const root = readNode(options, {
    drive: true,
    inherited: media === 'cdrom',
    cache: cache.direct ? { direct: true } : {},
  });
  return { ...drive, media, root };
}

/** Any of them says that a drive has an image. */
const ofImage = ['file', 'filename', 'driver', 'format', 'node-name'];

function requireCdrom(kind: DriveInterface, options: OptionTree): void {
  if (kind === 'virtio')
    throw new VmError(
      'media=cdrom: a CD-ROM drive is on IDE: if=ide, or if=none with -device ide-cd',
    );
  for (const key of ['readonly', 'read-only'])
    if (options.flag(key) === false)
      throw new VmError(`parameter '${key}': a CD-ROM is read-only; leave it out`);
}

/** -blockdev and blockdev-add: node-name is required, and a reference is not enough. */
export function readBlockdev(options: OptionTree): NodeSpec {
  if (!options.has('node-name')) throw new VmError("parameter 'node-name' is missing");
  if (!options.has('driver')) throw new VmError("parameter 'driver' is missing");
  return readNode(options, { drive: false, inherited: false, cache: {} });
}

/**
 * `cache.direct`: past the host's page cache; `cache.no-flush`: no request waits for the medium.
 */
interface NodeCache {
  direct?: boolean;
  noFlush?: boolean;
}

interface Context {
  /** Top of a drive: `file=F` is a file name, unless the driver takes a node there. */
  drive: boolean;
  /** Parent is read-only. */
  inherited: boolean;
  /** The parent's, for those made below it; what is referred to keeps its own way. */
  cache: NodeCache;
  /** A file that may not be written is opened for reading. */
  autoReadOnly?: boolean;
  /** A protocol must stand here: file unless another is named. */
  protocol?: boolean;
  /** No driver was named: an image that looks like another format is refused. */
  probed?: boolean;
}

function readNode(options: OptionTree, context: Context): NodeSpec {
  const probed = !options.has('driver') && !options.has('format');
  const driver = readDriver(options, context);
  const cache = readNodeCache(options, context.cache);
  const common: Common = {
    nodeName: name(options, 'node-name'),
    readOnly: options.flag('readonly') ?? options.flag('read-only') ?? context.inherited,
    policy: readPolicy(options, cache),
  };
  const autoReadOnly = options.flag('auto-read-only') ?? context.autoReadOnly;
  const spec = readers[driver](options, common, { ...context, cache, probed, autoReadOnly });
  options.end(` to driver '${driver}'`);
  return spec;
}

/** What stands below a node and is made with it. */
const below = (
  { cache, autoReadOnly }: Context,
  inherited: boolean,
  more: Partial<Context> = {},
): Context => ({ drive: false, inherited, cache, autoReadOnly, ...more });

/** Of a node; `cache=` and `cache.writeback` are a drive's. */
function readNodeCache(options: OptionTree, inherited: NodeCache): NodeCache {
  const tree = options.sub('cache');
  const direct = tree?.flag('direct') ?? inherited.direct;
  const noFlush = tree?.flag('no-flush') ?? inherited.noFlush;
  tree?.end(' of a node: it takes cache.direct and cache.no-flush');
  return { ...(direct !== undefined && { direct }), ...(noFlush !== undefined && { noFlush }) };
}

function readPolicy(options: OptionTree, { noFlush }: NodeCache): NodePolicy | undefined {
  if (!options.has('detect-zeroes') && !options.has('discard') && !noFlush) return undefined;
  const discard =
    options.oneOf('discard', ['ignore', 'off', 'unmap', 'on']) ?? defaultPolicy.discard;
  const zeroes = options.oneOf('detect-zeroes', ['off', 'on', 'unmap']) ?? 'off';
  const ignore = discard === 'ignore' || discard === 'off';
  if (zeroes === 'unmap' && ignore)
    throw new VmError(
      `parameter '${options.full('detect-zeroes')}': unmap is not allowed with discard=ignore`,
    );
  return {
    detectZeroes: zeroes !== 'off',
    discard: ignore ? 'ignore' : 'unmap',
    ...(noFlush && { noFlush }),
  };
}

type Driver = NodeSpec['driver'];
const OTHER_FORMAT_HINT = 'colo reads and writes raw and qcow2; qemu-img convert makes one of them';
/** QEMU's, and what to do instead. */
const notOffered: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      'qed',
      'qcow',
      'vmdk',
      'vdi',
      'vpc',
      'vhdx',
      'parallels',
      'bochs',
      'cloop',
      'dmg',
      'vvfat',
    ].map(format => [format, OTHER_FORMAT_HINT]),
  ),
  luks: 'colo encrypts no images; the host can',
  throttle:
    'limits are of a disk: throttling.* of -drive, or block_set_io_throttle with the id of ' +
    'its device',
  'null-co': 'driver=memory,size=SIZE holds what is written',
  'null-aio': 'driver=memory,size=SIZE holds what is written',
  'copy-on-read': 'block_stream takes over what a disk reads from the images below it',
  'copy-before-write': 'drive-backup and blockdev-backup do it',
  blkverify: 'a quorum has blkverify=on',
  host_device: 'driver=file opens devices too',
  host_cdrom: 'driver=file opens devices too',
};

function readDriver(options: OptionTree, context: Context): Driver {
  const where = options.full(options.has('driver') ? 'driver' : 'format');
  const driver = options.string('driver');
  const format = options.string('format');
  if (driver !== undefined && format !== undefined && driver !== format)
    throw new VmError(
      `parameters '${options.full('driver')}' and '${options.full('format')}' say different things`,
    );
  const asked = driver ?? format;
  if (asked === undefined) return context.protocol ? 'file' : 'raw';
  if (Object.hasOwn(readers, asked)) return asked as Driver;
  if (Object.hasOwn(notOffered, asked))
    throw new VmError(
      `driver '${asked}' (parameter '${where}') is not implemented: ${notOffered[asked]}`,
    );
  throw new VmError(`driver '${asked.slice(0, 60)}' (parameter '${where}') is not known`);
}

/** QEMU's names for ways of the host to read and write; this process has one. */
function refuseAio(options: OptionTree): void {
  const aio = options.string('aio') ?? 'threads';
  if (aio !== 'threads')
    throw new VmError(
      `parameter '${options.full('aio')}': files are read and written by threads ` +
        `(aio=threads); not '${aio.slice(0, 40)}'`,
    );
}

const readers: Record<Driver, (options: OptionTree, common: Common, context: Context) => NodeSpec> =
  {
    file: (options, common, { cache: { direct }, autoReadOnly = false }) => {
      const locking = options.oneOf('locking', ['auto', 'on', 'off']) ?? 'auto';
      refuseAio(options);
      return {
        ...common,
        driver: 'file',
        filename: plainFilename(options),
        lock: locking === 'off' ? 'none' : 'auto',
        autoReadOnly,
        ...(direct !== undefined && { direct }),
      };
    },
    raw: (options, common, context) => ({
      ...common,
      driver: 'raw',
      file: readImage(options, common, context),
      probed: context.probed ?? false,
    }),
    qcow2: (options, common, context) => {
      const file = readImage(options, common, context);
      if (options.peek('backing') === '') {
        options.string('backing');
        return { ...common, driver: 'qcow2', file, backing: 'none' };
      }
      const backing = options.has('backing')
        ? readSource(options, 'backing', below(context, true))
        : undefined;
      return { ...common, driver: 'qcow2', file, backing };
    },
    memory: (options, common, context) => {
      const backing = options.has('backing')
        ? readSource(options, 'backing', below(context, true))
        : undefined;
      return {
        ...common,
        driver: 'memory',
        size: options.size('size'),
        maxBytes: options.size('max-bytes') ?? DEFAULT_OVERLAY_BYTES,
        backing,
      };
    },
    nbd: (options, common) => ({ ...common, ...readNbd(options) }),
    blkdebug: (options, common, context) => ({
      ...common,
      driver: 'blkdebug',
      image: readSource(options, 'image', below(context, common.readOnly, { protocol: true })),
      rules: readBlkdebugRules(options),
    }),
    quorum: readQuorum,
    replication: readReplication,
  };
/** Every driver that a node can have. */
export const blockDrivers = Object.keys(readers) as Driver[];

function readQuorum(options: OptionTree, common: Common, context: Context): NodeSpec {
  const readPattern = options.oneOf('read-pattern', ['fifo', 'quorum']) ?? 'quorum';
  const voteThreshold = options.integer('vote-threshold', 1, 32);
  if (voteThreshold === undefined)
    throw new VmError(`parameter '${options.full('vote-threshold')}' is missing`);
  const [blkverify, rewriteCorrupted] = [
    options.flag('blkverify'),
    options.flag('rewrite-corrupted'),
  ];
  const children = options.numbered('children').map(({ name: edge, value }) => ({
    name: edge,
    source:
      typeof value === 'string'
        ? { reference: value }
        : readNode(value, below(context, common.readOnly)),
  }));
  if (children.length === 0)
    throw new VmError(
      `parameter '${options.full('children.0')}' is missing: a quorum needs at least one child`,
    );
  return {
    ...common,
    driver: 'quorum',
    children,
    voteThreshold,
    readPattern,
    blkverify,
    rewriteCorrupted,
  };
}

function readReplication(options: OptionTree, common: Common, context: Context): NodeSpec {
  const mode = options.string('mode');
  if (mode === undefined) throw new VmError('Missing the option mode');
  if (mode !== 'primary' && mode !== 'secondary')
    throw new VmError("The option mode's value should be primary or secondary");
  const assumeInSync = options.flag('x-assume-in-sync') ?? false;
  const topId = options.string('top-id');
  const file = readSource(options, 'file', below(context, false));
  if (mode === 'secondary')
    return { ...common, driver: 'replication', mode, file, assumeInSync, topId };
  if (topId !== undefined) throw new VmError('The primary side does not support option top-id');
  const maxRequests = options.integer('x-max-requests', 1, 65536);
  return {
    ...common,
    driver: 'replication',
    mode,
    file,
    assumeInSync,
    maxRequests,
    maxBytes: options.size('x-max-bytes'),
  };
}

/** `KEY=NAME` or `KEY.driver=...`. */
function readSource(options: OptionTree, key: string, context: Context): NodeSource {
  const reference = options.string(key);
  const tree = options.sub(key);
  if (reference !== undefined && tree)
    throw new VmError(
      `parameter '${options.full(key)}' names a node, so '${options.full(key)}.' options ` +
        'cannot follow',
    );
  if (reference !== undefined) return { reference };
  if (!tree) throw new VmError(`parameter '${options.full(key)}' is missing`);
  return readNode(tree, context);
}

/**
 * What is under a raw format: on a drive `file=F` is a file name, elsewhere a node's name; both and
 * `filename=F` are short for file.filename.
 */
function readImage(options: OptionTree, common: Common, context: Context): NodeSource {
  const filename = context.drive
    ? (options.string('file') ?? options.string('filename'))
    : options.string('filename');
  const protocol = below(context, common.readOnly, { protocol: true });
  const tree =
    filename === undefined ? options.sub('file') : options.named('file', 'filename', filename);
  if (!tree) return readSource(options, 'file', protocol);
  const uri = tree.has('driver') ? undefined : tree.peek('filename');
  if (uri === undefined || !isNbdUri(uri)) return readNode(tree, protocol);
  tree.string('filename');
  const nbd: NodeSpec = { ...readNbdUri(uri, tree), readOnly: common.readOnly };
  tree.end(' beside an NBD URI');
  return nbd;
}

function plainFilename(options: OptionTree): string {
  return withoutProtocol(options.required('filename'), options.full('filename'));
}

/**
 * `file:NAME` is NAME; another protocol in front is refused. A slash before the colon makes it part
 * of a name.
 */
function withoutProtocol(text: string, where: string): string {
  const match = /^([a-z][a-z0-9+-]*):/.exec(text);
  if (text === '' || text === 'file:') throw new VmError(`parameter '${where}' is empty`);
  if (text.includes('\0')) throw new VmError(`parameter '${where}' holds a zero byte`);
  if (!match) return text;
  if (match[1] === 'file') return text.slice('file:'.length);
  const hint =
    match[1] === 'nbd'
      ? 'use file.driver=nbd,file.host=...,file.port=...,file.export=...'
      : `put ./ in front if the name of the file begins so`;
  throw new VmError(
    `parameter '${where}': protocol '${match[1]}' is not taken from a file name; ${hint}`,
  );
}

const cacheModes: Readonly<Record<string, { mode: CacheMode; direct: boolean }>> = {
  writeback: { mode: 'writeback', direct: false },
  writethrough: { mode: 'writethrough', direct: false },
  none: { mode: 'writeback', direct: true },
  directsync: { mode: 'writethrough', direct: true },
  unsafe: { mode: 'unsafe', direct: false },
};

/** `cache=MODE`, or what it is made of: `cache.writeback`, `cache.no-flush`, `cache.direct`. */
function readCache(options: OptionTree): { mode: CacheMode; direct: boolean } {
  const value = options.string('cache') ?? 'writeback';
  if (!Object.hasOwn(cacheModes, value))
    throw new VmError(
      `parameter 'cache' takes ${Object.keys(cacheModes).join(', ')}; not '${value}'`,
    );
  const { mode, direct } = cacheModes[value];
  const parts = options.sub('cache');
  const writeback = parts?.flag('writeback') ?? mode !== 'writethrough';
  const noFlush = parts?.flag('no-flush') ?? mode === 'unsafe';
  const past = parts?.flag('direct') ?? direct;
  parts?.end();
  return { mode: noFlush ? 'unsafe' : writeback ? 'writeback' : 'writethrough', direct: past };
}

/** A name that a monitor can say: letters, digits, `-._`, beginning with a letter. */
function name(options: OptionTree, key: string): string | undefined {
  const value = options.string(key);
  if (value !== undefined && !/^[A-Za-z][A-Za-z0-9._-]{0,63}$/.test(value))
    throw new VmError(
      `parameter '${options.full(key)}' takes a letter, then letters, digits and -._; not ` +
        `'${value.slice(0, 80)}'`,
    );
  return value;
}
