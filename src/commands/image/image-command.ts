/**
 * What the `colo image` commands share: the host, how images are opened, progress, sizes in words,
 * qemu-img's exit codes.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { BlockHost } from '../../block/graph/graph.js';
import { cachedAs, cacheModes, type ImageCache, withoutLocks } from '../../block/tools/files.js';
import type { OpenedImage, OpenOptions } from '../../block/image/open.js';
import type { FileHost } from '../../host/node/file-host.js';
import { needSize } from '../../words/scalars.js';
import { Flags } from '../flags.js';
import { UsageError } from '../options/argv.js';
import { Tool } from '../tool.js';

const SECTOR = 512;

export const formatFlag = Flags.string({
  char: 'f',
  helpValue: 'FMT',
  description: 'format of the image: raw or qcow2; probed when not given',
});
export const progressFlag = Flags.boolean({
  char: 'p',
  description: 'show progress: a bar on a terminal, elsewhere percents',
});
export const sharedFlag = Flags.boolean({
  char: 'U',
  description: 'read it even if another program writes to it: what is read may be of no one moment',
});
export const quietFlag = Flags.boolean({ char: 'q', description: 'print nothing but errors' });
export const outputFlag = Flags.string({
  options: ['human', 'json'],
  description: 'json is the same as --json',
});

export const cacheFlag = (char: 't' | 'T', fallback: 'writeback' | 'unsafe', of = '') =>
  Flags.string({
    char,
    default: fallback,
    helpValue: 'CACHE',
    description:
      'writeback, writethrough, unsafe (no flush), or past the page cache: none, ' +
      `directsync${of}`,
  });

function checkedCache(text: string): ImageCache {
  const found = cacheModes.find(mode => mode === text);
  if (!found) throw new UsageError(`a cache mode is ${cacheModes.join(', ')}; not '${text}'`);
  return found;
}

const STEP_MS = 100;

export abstract class ImageCommand extends Tool {
  protected host!: FileHost;

  override async init(): Promise<void> {
    await super.init();
    this.host = (await import('../../host/node/file-host.js')).fileHost();
  }

  override jsonEnabled(): boolean {
    return (
      super.jsonEnabled() ||
      this.argv.includes('--output=json') ||
      this.argv.join(' ').includes('--output json')
    );
  }

  protected print(line: string): void {
    if (!this.jsonEnabled()) process.stdout.write(`${line}\n`);
  }

  /** shared: -U. An image that somebody uses is refused with the way out. */
  protected async openImage(
    filename: string,
    options: OpenOptions & { cache?: string; shared?: boolean },
  ): Promise<OpenedImage> {
    const host = this.hostFor(options);
    const { openImage } = await import('../../block/image/open.js');
    return openImage(host, filename, options).catch((error: unknown) => {
      throw whenLocked(error, options.readOnly);
    });
  }

  protected hostFor({ cache, shared }: { cache?: string; shared?: boolean }): BlockHost {
    const mode = checkedCache(cache ?? 'writeback');
    const { clock, sockets } = this.host;
    const files = shared ? withoutLocks(this.host.files) : this.host.files;
    return { clock, sockets, files: cachedAs(files, mode) };
  }

  /** On standard error: a bar on a terminal, elsewhere percents as qemu-img has them. */
  protected async progress(
    wanted: boolean,
  ): Promise<((done: number, total: number) => void) | undefined> {
    if (!wanted) return undefined;
    const show = process.stderr.isTTY ? await bar() : percents;
    let shownMs = -Infinity;
    let ended = false;
    return (done, total) => {
      const nowMs = this.host.clock.nowMs();
      if (ended || (done < total && nowMs - shownMs < STEP_MS)) return;
      shownMs = nowMs;
      ended = done >= total;
      show(total === 0 ? 1 : Math.min(1, done / total), ended);
    };
  }

  /** Not rounded. */
  protected exactSize(text: string): number {
    try {
      return needSize(text, "parameter 'size'");
    } catch (error) {
      throw new UsageError(asVmError(error).message);
    }
  }

  /** Rounded up to whole sectors. */
  protected size(text: string): number {
    return Math.ceil(this.exactSize(text) / SECTOR) * SECTOR;
  }
}

async function bar(): Promise<(part: number, ended: boolean) => void> {
  const { Presets, SingleBar } = await import('cli-progress');
  const shown = new SingleBar(
    {
      format: '{bar} {percentage}% {duration_formatted}',
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: false,
      barsize: 40,
      stopOnComplete: true,
    },
    Presets.shades_classic,
  );
  shown.start(1000, 0);
  return part => shown.update(Math.round(part * 1000));
}

function percents(part: number, ended: boolean): void {
  process.stderr.write(`    (${(part * 100).toFixed(2)}/100%)${ended ? '\n' : '\r'}`);
}

/** Says what can be done about it. */
export function whenLocked(error: unknown, readOnly: boolean): VmError {
  const found = asVmError(error);
  if (!/ lock on /.test(found.message)) return found;
  const hint = readOnly
    ? 'Another program writes to the image. End that first, or read it all the same with -U ' +
      '(--force-share).'
    : 'Another program uses the image. End that first; a running VM changes its disks by its ' +
      'monitor.';
  return new VmError(found.message, { ...found.options, hint });
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function inWords(bytes: number): string {
  let unit = 0;
  let n = bytes;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${Number(n.toPrecision(3))} ${units[unit]}`;
}

/** An exit code of its own, as qemu-img's. */
export const withExit = (error: unknown, exit: number): VmError =>
  Object.assign(asVmError(error), { oclif: { exit } });
