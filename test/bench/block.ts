/**
 * `npm run bench:block -- [--only nbd|replication|convert] [--rounds N] [--seconds S] [--json]`:
 * the block layer against QEMU's tools, paired in one run and printed as ratios. Each section is a
 * file in block/.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { convertNeeds, convertRows } from './block/convert.js';
import { nbdServerNeeds, nbdServerRows } from './block/nbd-server.js';
import { replicationRows } from './block/replication.js';
import type { Row } from './block/rows.js';

interface Settings {
  rounds: number;
  seconds: number;
}
const sections: Record<
  string,
  { needs: readonly string[]; rows: (dir: string, settings: Settings) => Promise<Row[]> }
> = {
  nbd: { needs: nbdServerNeeds, rows: nbdServerRows },
  replication: {
    needs: [],
    rows: (dir, { seconds }) => replicationRows(dir, { writes: 1000 * seconds }),
  },
  convert: { needs: convertNeeds, rows: convertRows },
};

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});
const settings: Settings = {
  rounds: positive('rounds', flags.rounds),
  seconds: positive('seconds', flags.seconds),
};
if (flags.only !== undefined && !(flags.only in sections))
  usage(`--only takes ${Object.keys(sections).join(', ')}`);

const load = () => loadavg()[0].toFixed(1);
const loadBefore = load();
const found: { section: string; rows: Row[]; skipped?: string }[] = [];
for (const [section, { needs, rows }] of Object.entries(sections)) {
  if (flags.only !== undefined && flags.only !== section) continue;
  const missing = needs.filter(
    program => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0,
  );
  const dir = mkdtempSync(join(tmpdir(), 'colo-bench-'));
  try {
    found.push(
      missing.length > 0
        ? { section, rows: [], skipped: `without ${missing.join(', ')}` }
        : { section, rows: await rows(dir, settings) },
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
}
const machine = {
  cpu: cpus()[0].model,
  cores: cpus().length,
  node: process.version,
  load: `${loadBefore} to ${load()}`,
};
if (flags.json) console.log(JSON.stringify({ machine, settings, sections: found }));
else print();

function print(): void {
  console.log(
    `${machine.cores} cores of ${machine.cpu}, Node ${machine.node}, load ${machine.load}; ` +
      `medians of ${settings.rounds} rounds in turns`,
  );
  for (const { section, rows, skipped } of found) {
    console.log(`\n${section}${skipped === undefined ? '' : `: skipped, ${skipped}`}`);
    for (const { name, unit, ours, theirs, ratio, target } of rows) {
      const pair = theirs === undefined ? shown(ours) : `${shown(ours)} / ${shown(theirs)}`;
      console.log(
        `  ${name.padEnd(56)} ${`${pair} ${unit}`.padStart(24)}  ` +
          `${(ratio === undefined ? '' : `${ratio.toFixed(2)}x`).padStart(6)}  ${target ?? ''}`,
      );
    }
  }
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 100)
    usage(`--${flag} takes a whole number from 1 to 100`);
  return value;
}

function usage(message: string): never {
  console.error(message);
  process.exit(2);
}
