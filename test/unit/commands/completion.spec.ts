/**
 * Goal: Tab in a shell offers what fits: commands, flags behind a dash, names where one is wanted,
 * else files. Method: the script in a real bash; zsh's only differs by a line.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { completionScript } from '../../../src/commands/completion.js';
import { optionTable } from '../../../src/commands/options/table.js';

const commands = [
  { id: 'status', flags: { timeout: {}, json: {} } },
  { id: 'primary', flags: {} },
  { id: 'list', flags: { json: {} } },
  { id: 'protect', flags: { config: {} } },
  { id: 'qmp', flags: { arg: {} } },
  { id: 'image:create', flags: { size: {} } },
  { id: 'image:info', flags: { json: {} } },
] as unknown as Parameters<typeof completionScript>[1];
const runtime = mkdtempSync(join(tmpdir(), 'colo-complete-'));
for (const name of ['pvm', 'svm']) mkdirSync(join(runtime, 'colo', name), { recursive: true });
afterAll(() => rmSync(runtime, { recursive: true }));

function tab(...words: string[]): string[] {
  const quoted = ['colo', ...words].map(word => `'${word}'`).join(' ');
  const monitor = { qmp: ['query-status', 'query-vm'], hmp: ['info'] };
  const ask = `COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _colo; echo "\${COMPREPLY[@]}"`;
  const script = `${completionScript(false, commands, monitor, optionTable)}\n${ask}`;
  const out = execFileSync('bash', ['-c', script], {
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: runtime },
  }).trim();
  return out === '' ? [] : out.split(' ');
}

test('commands, VM names, flags, options', () => {
  expect(tab('')).toEqual(['image', 'list', 'primary', 'protect', 'qmp', 'status']);
  expect(tab('image', '')).toEqual(['create', 'info']);
  expect(tab('image', 'i')).toEqual(['info']);
  expect(tab('image', 'create', '--')).toEqual(['--size']);
  expect(tab('st')).toEqual(['status']);
  expect(tab('status', '')).toEqual(['pvm', 'svm']);
  expect(tab('status', '-')).toEqual(['--timeout', '--json']);
  expect(tab('protect', 'pvm', '--config', '')).toEqual([]); // -o default: files
  expect(tab('qmp', 'pvm', '')).toEqual(['query-status', 'query-vm']);
  expect(tab('qmp', 'pvm', 'query-v')).toEqual(['query-vm']);
  expect(tab('qmp', 'pvm', '--')).toEqual(['--arg']);
  expect(tab('hmp', 'pvm', '')).toEqual(['info']);
  expect(tab('status', 's')).toEqual(['svm']);
  expect(tab('status', 'svm', '--t')).toEqual(['--timeout']);
  expect(tab('primary', '-no')).toEqual([
    '-nographic',
    '-no-reboot',
    '-no-shutdown',
    '-nodefaults',
    '-no-user-config',
    '-no-hpet',
    '-no-fd-bootchk',
  ]);
  expect(tab('nothing', '')).toEqual([]);
});

test('the value of an option: declared kinds, and their keys', () => {
  expect(tab('primary', '-device', 'virtio-b')).toContain('virtio-blk-pci');
  expect(tab('secondary', '-device', 'virtio-blk-pci,s')).toContain('virtio-blk-pci,serial=');
  expect(tab('primary', '--netdev', 'tap,if')).toEqual(['tap,ifname=']);
  expect(tab('primary', '-chardev', 'std')).toContain('stdio');
  expect(tab('primary', '-object', 'filter-d')).toContain('filter-dump');
  expect(tab('primary', '-smp', 'so')).toEqual(['sockets=']);
  expect(tab('primary', '-M', 'acc')).toEqual(['accel=']);
  expect(tab('primary', '-kernel', 'v')).toEqual([]); // files
  expect(tab('list', '-device', 'virtio-b')).toEqual([]);
});

test('zsh takes it by bashcompinit', () => {
  expect(completionScript(true, commands)).toContain('bashcompinit\n_colo() {');
});
