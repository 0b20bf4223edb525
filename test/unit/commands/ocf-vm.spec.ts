/**
 * Goal: `ocf:colo:vm` as a cluster calls it: every action with its exit code, in both roles, with
 * real VMs; and every mistake of a configuration as a sentence that Pacemaker shows. Method: the
 * program of the package with the environment of OCF, and programs in place of Pacemaker's (VMs are
 * skipped by name where the addon is not built).
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt, colo, expectDone } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { root } from '../../support/sources.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const agent = join(root, 'packaging/ocf/vm');
const dir = mkdtempSync(join(tmpdir(), 'colo-ocf-'));
const file = join(dir, 'toy.yaml');
const scores = join(dir, 'scores');
const runtime = { XDG_RUNTIME_DIR: dir };

beforeAll(() => {
  mkdirSync(join(dir, 'bin'));
  program('crm_attribute', `echo "$@" >> ${scores}`);
  program('crm_mon', `echo '<r><current_dc with_quorum="true"/><node name="other"/></r>'`);
  const code = Buffer.from(new Assembler(0).incDword(0x80_0000).hlt().code());
  writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
  define(file);
});
afterAll(() => {
  for (const side of ['a', 'b'] as const) act(side, 'stop');
  rmSync(dir, { recursive: true });
});

function program(name: string, line: string): void {
  const path = join(dir, 'bin', name);
  writeFileSync(path, `#!/bin/sh\n${line}\n`);
  chmodSync(path, 0o755);
}

function define(path: string, ...further: string[]): void {
  const at = (name: string) => `{migration: "unix:${dir}/${name}", nbd: "unix:${dir}/${name}n"}`;
  const lines = ['name: toy', 'memory: 32M', 'accel: soft', 'kernel: vmlinuz'];
  const disks = 'disks: [{primary: p.img, secondary: s.img, size: 4M}]';
  lines.push('checkpoint-delay: 20', `peer: ${at('p')}`, `back: ${at('b')}`, disks, ...further);
  writeFileSync(path, `${lines.join('\n')}\n`);
}

function call(action: string, env: Record<string, string>) {
  const PATH = `${dir}/bin:${process.env['PATH']}`;
  const { status, stdout, stderr } = spawnSync(agent, [action], {
    env: { ...process.env, NODE_OPTIONS: '', ...runtime, PATH, ...env },
    encoding: 'utf8',
  });
  return { code: status, out: stdout, err: stderr };
}

function act(side: 'a' | 'b', action: string, env: Record<string, string> = {}) {
  return call(action, {
    OCF_RESOURCE_INSTANCE: `toy-${side}`,
    OCF_RESKEY_file: file,
    OCF_RESKEY_side: side,
    OCF_RESKEY_log: join(dir, `${side}.log`),
    OCF_RESKEY_CRM_meta_timeout: '60000',
    ...env,
  });
}

/** Of the last call of this side. */
const scoreOf = (side: 'a' | 'b') =>
  readFileSync(scores, 'utf8')
    .split('\n')
    .filter(line => line.includes(`--promotion=toy-${side} `))
    .at(-1)
    ?.replace(/.*reboot /, '');

async function untilProtected(name: string): Promise<void> {
  const waited = await colo(['status', name, '--wait', 'protected', '--timeout', '60'], {
    env: runtime,
  });
  expectDone(waited);
}

async function kill(name: string): Promise<void> {
  const { out } = await colo(['list', '--json'], { env: runtime });
  const { pid } = (JSON.parse(out) as { name: string; pid: number }[]).find(
    vm => vm.name === name,
  )!;
  process.kill(pid, 'SIGKILL');
}

withAddon(
  'a pair in the hands of a cluster (skipped where the addon is not built)',
  async () => {
    const codes = (side: 'a' | 'b', ...actions: string[]) =>
      actions.map(action => {
        const { code, err } = act(side, action);
        return err === '' ? code : [code, err];
      });
    // The definition and both sides are fine; nothing runs.
    expect(codes('a', 'validate-all', 'monitor', 'stop', 'demote', 'promote')).toEqual([
      0, 7, 0, 7, 7,
    ]);
    expect(codes('a', 'start', 'start', 'monitor')).toEqual([0, 0, 0]);
    expect(codes('b', 'start', 'monitor')).toEqual([0, 0]);
    expect([scoreOf('a'), scoreOf('b')]).toEqual(['--update 10', '--delete']);
    expect(act('b', 'promote')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^ocf-exit-reason:.*its images do not say/),
    });
    expect(codes('a', 'promote', 'monitor')).toEqual([0, 8]);
    await untilProtected('toy-secondary');
    expect(codes('b', 'monitor')).toEqual([0]);
    expect([scoreOf('a'), scoreOf('b')]).toEqual(['--update 100', '--update 50']);

    // Neither an edited definition nor an address that is gone says anything of what runs.
    writeFileSync(file, 'name: 7:\n');
    expect(codes('a', 'monitor')).toEqual([8]);
    expect(act('b', 'monitor', { OCF_RESKEY_side: '' })).toMatchObject({ code: 0, err: '' });
    await kill('toy-primary');
    expect(codes('a', 'monitor', 'stop')).toEqual([7, 0]);
    expect(act('a', 'start').code).toBe(6);
    define(file);
    expect(codes('b', 'promote', 'monitor')).toEqual([0, 8]);
    expect(codes('a', 'start', 'monitor')).toEqual([0, 0]);
    await untilProtected('toy-primary');

    expect(codes('b', 'demote', 'monitor')).toEqual([0, 0]);
    expect(codes('a', 'promote', 'monitor')).toEqual([0, 8]);
    await untilProtected('toy-secondary');
    await kill('toy-secondary');
    const notice = { notify_type: 'post', notify_operation: 'stop' };
    const meta = Object.entries(notice).map(([k, v]) => [`OCF_RESKEY_CRM_meta_${k}`, v]);
    expect(act('a', 'notify', Object.fromEntries(meta))).toMatchObject({ code: 0, err: '' });
    const { out } = await colo(['list', '--json'], { env: runtime });
    expect(JSON.parse(out)).toMatchObject([{ name: 'toy-primary', pair: 'alone' }]);
    expect(codes('a', 'stop', 'monitor')).toEqual([0, 7]);
  },
  400_000,
);

test('what is wrong with a configuration, or a node, has its own code and sentence', () => {
  define(join(dir, 'judge.yaml'), 'arbiter: "file:/tmp"');
  writeFileSync(join(dir, 'wrong.yaml'), 'name: 7:\n');
  const validate = (env: Record<string, string>) => {
    const { code, err } = act('a', 'validate-all', env);
    return `${code} ${err}`;
  };
  expect(validate({ OCF_RESKEY_file: '' })).toMatch(/^6 ocf-exit-reason:the parameter 'file'/);
  expect(validate({ OCF_RESKEY_file: '/no.yaml' })).toMatch(/^5 .*\/no.yaml is not on this node/);
  expect(validate({ OCF_RESKEY_file: join(dir, 'judge.yaml') })).toMatch(
    /^6 .*'arbiter': here the cluster decides/,
  );
  expect(validate({ OCF_RESKEY_file: join(dir, 'wrong.yaml') })).toMatch(/^6 .*wrong.yaml:1:/);
  expect(validate({ OCF_RESKEY_side: 'c' })).toMatch(/^6 .*--side c: it is a or b/);
  expect(validate({ OCF_RESKEY_side: '' })).toMatch(/^6 .*an address of this host: say/);
  expect(validate({ OCF_RESKEY_CRM_meta_promoted_max: '2' })).toMatch(/^6 .*promoted-max=2/);
  // A node without the definition runs nothing: a probe and a stop are no failures.
  const gone = { OCF_RESKEY_file: '/no.yaml' };
  expect(act('a', 'monitor', gone).code).toBe(7);
  expect(act('a', 'stop', gone).code).toBe(0);
  expect(act('a', 'start', gone).code).toBe(5);
  expect(act('a', 'fly')).toMatchObject({ code: 3, err: expect.stringMatching(/^usage: /) });
});

const schema = '/usr/share/resource-agents/metadata.rng';
const xmllint = spawnSync('xmllint', ['--version']).status === 0 ? test : test.skip;

xmllint('the meta-data is of the schema (skipped where libxml2-utils is not installed)', () => {
  const { code, out } = call('meta-data', {});
  expect(code).toBe(0);
  for (const action of ['start', 'stop', 'monitor', 'promote', 'demote', 'notify', 'validate-all'])
    expect(out).toContain(`<action name="${action}"`);
  expect(out).toContain('<version>1.1</version>');
  const given = spawnSync('xmllint', ['--noout', ...relaxng(), '-'], { input: out });
  expect([given.status, given.stderr.toString()]).toEqual([
    0,
    expect.not.stringContaining('error'),
  ]);
});

/** Without the schema of Debian's resource-agents it is at least XML. */
const relaxng = () => (spawnSync('test', ['-e', schema]).status === 0 ? ['--relaxng', schema] : []);
