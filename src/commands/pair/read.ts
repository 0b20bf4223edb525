/**
 * From the text of a pair definition to its checked content. Every mistake is told with
 * file:line:column.
 */
import { readFileSync } from 'node:fs';
import { LineCounter, parseDocument } from 'yaml';
import { asVmError } from '../../base/errors.js';
import { checkHeartbeat, defaultColoOptions } from '../../colo/options.js';
import { systemError } from '../../host/node/errors.js';
import { UsageError } from '../options/argv.js';
import { mistake, type YamlPlace } from './fields.js';
import { checkSecure } from './secure.js';
import { cardId, diskId, type PairDefinition, pairKind } from './schema.js';

/** A definition is a page or two. */
const MAX_BYTES = 1 << 20;
const MAX_NESTING = 50;

export interface PairFile {
  readonly path: string;
  readonly pair: PairDefinition;
  /** The roles are the other way round: side b is the primary. */
  readonly turned?: boolean;
  /** --insecure was said. */
  readonly insecure?: boolean;
}

/** insecure: --insecure was said. */
export function readPairFile(path: string, insecure: boolean): PairFile {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const { message } = systemError(`Could not read '${path}'`, error);
    throw new UsageError(`--config ${path}: ${message}`, {
      hint: 'colo init writes a pair definition; colo-pair(5) describes it.',
    });
  }
  if (bytes.length > MAX_BYTES)
    throw new UsageError(
      `--config ${path}: ${bytes.length} bytes are too many for a pair definition`,
    );
  const pair = parsePair(bytes.toString('utf8'), path);
  if (!insecure) checkSecure(path, pair);
  return { path, pair, insecure };
}

export function parsePair(source: string, file: string): PairDefinition {
  const deep = nestingMistake(source);
  if (deep)
    throw new UsageError(
      `${file}:${deep.line}:1: nested too deeply for a pair definition: ${deep.what}`,
    );
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, prettyErrors: false });
  const [problem] = [...document.errors, ...document.warnings];
  const top: YamlPlace = { file, lines, path: '', node: document.contents, offset: 0 };
  if (problem)
    throw mistake(
      { ...top, node: null, offset: problem.pos[0] },
      problem.message.replaceAll('\n', ' '),
      'It must be YAML: see colo-pair(5).',
    );
  const pair = pairKind.parse(top);
  checkWhole(pair, (path, message, hint) =>
    mistake(
      {
        ...top,
        path: path.join('.').replace(/\.(\d+)/g, '[$1]'),
        node: (document.getIn(path, true) ?? null) as YamlPlace['node'],
      },
      message,
      hint,
    ),
  );
  return pair;
}

/**
 * The library goes down its stack with every level, and where that ends it may take the process
 * along: how deep a text can nest at most is bounded before. A level is a bracket, an indicator of
 * its line (`- `, `? `, `: `) or a column of its indentation.
 */
function nestingMistake(source: string): { line: number; what: string } | undefined {
  let open = 0;
  for (const [n, text] of source.split(/\r\n|[\r\n]/).entries()) {
    let brackets = 0;
    for (const sign of text) {
      open = Math.max(0, open + ('[{'.includes(sign) ? 1 : ']}'.includes(sign) ? -1 : 0));
      brackets = Math.max(brackets, open);
    }
    const levels = {
      'open brackets': brackets,
      'levels in one line': text.match(/[-?:](?=\s|$)/g)?.length ?? 0,
      'columns of indentation': text.search(/[^ \t]|$/),
    };
    const found = Object.entries(levels).find(([, many]) => many > MAX_NESTING);
    if (found) return { line: n + 1, what: `${found[1]} ${found[0]}` };
  }
  return undefined;
}

/** What only the whole can tell. */
function checkWhole(
  pair: PairDefinition,
  wrong: (path: (string | number)[], message: string, hint?: string) => UsageError,
): void {
  const { disks = [], network = [] } = pair;
  checkTimes(pair, wrong);
  for (const key of ['peer', 'back'] as const) {
    const addresses = pair[key];
    if (!addresses) continue;
    if (disks.length > 0 && addresses.nbd === undefined)
      throw wrong(
        [key],
        "'nbd' is missing: the disks are replicated through it",
        'Example: nbd: tcp:10.0.0.2:8889',
      );
    if (addresses.nbd === addresses.migration)
      throw wrong(
        [key, 'nbd'],
        'this is the address of `migration` too: each needs one of its own',
      );
  }
  disks.forEach((disk, n) => {
    if ((disk.active === undefined) !== (disk.hidden === undefined))
      throw wrong(
        ['disks', n],
        "'active' and 'hidden' belong together: both are files, or both are in memory",
      );
  });
  twice(disks.map(diskId), (id, n) => wrong(['disks', n], `there are two disks with id '${id}'`));
  twice(network.map(cardId), (id, n) =>
    wrong(['network', n], `there are two network cards with id '${id}'`),
  );
}

/** As the VM would, whose parameters they become. */
function checkTimes(
  { 'heartbeat-interval': interval, 'heartbeat-timeout': timeout }: PairDefinition,
  wrong: (path: string[], message: string, hint?: string) => UsageError,
): void {
  const { heartbeatMs, peerTimeoutMs, leaseMs } = defaultColoOptions;
  try {
    const given = { heartbeatMs: interval ?? heartbeatMs, peerTimeoutMs: timeout ?? peerTimeoutMs };
    checkHeartbeat({ ...given, leaseMs });
  } catch (error) {
    const { message, options } = asVmError(error);
    throw wrong(
      [timeout === undefined ? 'heartbeat-interval' : 'heartbeat-timeout'],
      message,
      options.hint,
    );
  }
}

function twice(ids: readonly string[], wrong: (id: string, n: number) => UsageError): void {
  const at = ids.findIndex((id, n) => ids.indexOf(id) !== n);
  if (at >= 0) throw wrong(ids[at], at);
}
