/**
 * Lines of HMP for a monitor elsewhere, over QMP: of a VM of ours as good as at its own prompt, of
 * QEMU as its help allows.
 */
import { asVmError } from '../base/errors.js';
import type { Assist } from '../monitor/hmp/completion.js';
import { isComment } from '../monitor/hmp/shell.js';
import type { Style } from '../monitor/hmp/style.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { isObject } from '../words/types.js';
import { runLine } from './remote-line.js';
import {
  askNames,
  assistFromHelp,
  type NameKind,
  parseHelp,
  type RemoteCommand,
} from './remote-help.js';

const nothing: Assist = { candidates: [], word: '', hint: '' };

export class RemoteShell {
  private help: Promise<RemoteCommand[]> | undefined;

  private constructor(
    private readonly client: QmpClient,
    private readonly timeoutMs: number,
    /** It completes lines and draws tables by itself. */
    private readonly isOurs: boolean,
  ) {}

  static async over(client: QmpClient, timeoutMs: number): Promise<RemoteShell> {
    const commands = await client.execute('query-commands', undefined, timeoutMs);
    const names = Array.isArray(commands)
      ? commands.map(c => (isObject(c) ? c['name'] : undefined))
      : [];
    return new RemoteShell(
      client,
      timeoutMs,
      names.includes('x-complete') && names.includes('x-hmp-line'),
    );
  }

  /** Every failure is text. */
  async run(line: string, style?: Style): Promise<string> {
    if (line.trim() === '' || isComment(line)) return '';
    try {
      return await runLine(this.client, this.timeoutMs, () => this.once(line, style));
    } catch (error) {
      return `Error: ${asVmError(error).message}\n`;
    }
  }

  private async once(line: string, style: Style | undefined): Promise<string> {
    if (!style || !this.isOurs) return this.client.hmp(line, this.timeoutMs);
    const { columns, colour, ascii } = style;
    const shown = { columns, colour, ...(ascii && { ascii }) };
    const output = await this.client.execute('x-hmp-line', { line, ...shown }, this.timeoutMs);
    return typeof output === 'string' ? output : '';
  }

  async assist(line: string): Promise<Assist> {
    if (!this.isOurs)
      return assistFromHelp(await (this.help ??= this.askHelp()), line, kind => this.names(kind));
    return asAssist(await this.client.execute('x-complete', { line }, this.timeoutMs));
  }

  private names(kind: NameKind): Promise<string[]> {
    return askNames(this.client, kind, this.timeoutMs);
  }

  private async askHelp(): Promise<RemoteCommand[]> {
    const help = await this.client.hmp('help', this.timeoutMs);
    return parseHelp(`${help}\n${await this.client.hmp('info', this.timeoutMs)}`);
  }
}

/** Whatever a server says that calls itself ours. */
function asAssist(answer: unknown): Assist {
  if (!isObject(answer)) return nothing;
  const { candidates, word, hint, path } = answer;
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  const words = Array.isArray(candidates)
    ? candidates.filter((one): one is string => typeof one === 'string')
    : [];
  return {
    candidates: words,
    word: text(word),
    hint: text(hint),
    ...(typeof path === 'string' ? { path } : {}),
  };
}
