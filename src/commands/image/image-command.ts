/** What the `colo image` commands share: the host, progress, sizes in words, qemu-img's exit codes. */
import { Flags } from '@oclif/core';
import { asVmError, type VmError } from '../../base/errors.js';
import type { Host } from '../../host/ports.js';
import { BaseCommand } from '../base.js';
import { UsageError } from '../options/argv.js';

export const formatFlag = Flags.string({ char: 'f', helpValue: 'FMT', description: 'format of the image: raw or qcow2; probed when not given' });
export const progressFlag = Flags.boolean({ char: 'p', description: 'show progress (on a terminal)' });
export const quietFlag = Flags.boolean({ char: 'q', description: 'print nothing but errors' });
export const outputFlag = Flags.string({ options: ['human', 'json'], description: 'json is the same as --json' });

const BAR = 30;
const STEP_MS = 100;

export abstract class ImageCommand extends BaseCommand {
  protected host!: Host;

  override async init(): Promise<void> {
    await super.init();
    this.host = (await import('../../host/node/host.js')).nodeHost();
  }

  override jsonEnabled(): boolean {
    return super.jsonEnabled() || this.argv.includes('--output=json') || this.argv.join(' ').includes('--output json');
  }

  protected print(line: string): void {
    if (!this.jsonEnabled()) process.stdout.write(`${line}\n`);
  }

  /** On a terminal a bar on standard error; elsewhere nothing. */
  protected progress(wanted: boolean): ((done: number, total: number) => void) | undefined {
    if (!wanted || !process.stderr.isTTY) return undefined;
    let shownMs = -Infinity;
    return (done, total) => {
      const nowMs = this.host.clock.nowMs();
      if (done < total && nowMs - shownMs < STEP_MS) return;
      shownMs = nowMs;
      const part = total === 0 ? 1 : done / total;
      const full = Math.round(part * BAR);
      process.stderr.write(`\r[${'#'.repeat(full)}${' '.repeat(BAR - full)}] ${(part * 100).toFixed(1).padStart(5)}%${done < total ? '' : '\n'}`);
    };
  }

  protected async size(text: string): Promise<number> {
    const { parseSize } = await import('../../block/image/create-options.js');
    try {
      return parseSize(text);
    } catch (error) {
      throw new UsageError(asVmError(error).message);
    }
  }
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function inWords(bytes: number): string {
  let unit = 0;
  let n = bytes;
  for (; n >= 1024 && unit < units.length - 1; unit++) n /= 1024;
  return `${Number(n.toPrecision(3))} ${units[unit]}`;
}

/** An exit code of its own, as qemu-img's. */
export const withExit = (error: unknown, exit: number): VmError => Object.assign(asVmError(error), { oclif: { exit } });
