/**
 * Goal: a client that others wrote drives our QMP socket: socat, with the steps of COLO's first documentation as they stand there, single quotes
 * and all. Method: the QMP server over a unix socket with a machine of the test behind it; skipped by name where socat is missing.
 */
import { spawnSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CharWorld } from '../../../src/chardev/contract.js';
import { createChardev } from '../../../src/chardev/create.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import { registryFor } from '../../../src/monitor/commands/all.js';
import { QmpServer } from '../../../src/monitor/qmp/server.js';
import { type FakeControl, fakeControl } from '../../support/fake-control.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-clients-'));
const path = join(dir, 'qmp');
const has = (program: string, flag: string) => spawnSync(program, [flag]).status === 0;
let vm: FakeControl;
const open: { dispose(): void }[] = [];

beforeAll(async () => {
  vm = fakeControl();
  const world = { sockets: new NodeSockets(), clock: new NodeClock(), log: () => undefined } as unknown as CharWorld;
  const chr = await createChardev('c0', { kind: 'socket', address: { kind: 'unix', path }, server: true, wait: false, reconnectMs: 0 }, world);
  open.push(chr, new QmpServer(vm, registryFor(vm), chr, { wallMs: () => 0, log: () => undefined }));
});
afterAll(() => {
  for (const item of open) item.dispose();
  rmSync(dir, { recursive: true });
});

function run(program: string, args: string[], input: string): Promise<{ out: string; err: string; code: number | null }> {
  const child = spawn(program, args);
  const result = { out: '', err: '', code: null as number | null };
  child.stdout.on('data', (bytes: Buffer) => (result.out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (result.err += bytes.toString()));
  child.stdin.end(input);
  return new Promise(resolve => child.once('close', code => resolve({ ...result, code })));
}

/** On the secondary, then on the primary, then when one is lost. */
const steps = `{'execute':'qmp_capabilities'}
{ 'execute': 'nbd-server-start', 'arguments': {'addr': {'type': 'inet', 'data': {'host': '192.168.2.88', 'port': '8889'} } } }
{'execute': 'nbd-server-add', 'arguments': {'device': 'colo-disk0', 'writable': true } }
{'execute': 'trace-event-set-state', 'arguments': {'name': 'colo*', 'enable': true} }
{'execute': 'human-monitor-command', 'arguments': {'command-line': 'drive_add -n buddy driver=replication,mode=primary,file.driver=nbd,file.host=9.61.1.7,file.port=8889,file.export=colo-disk0,node-name=node0,if=none'}}
{'execute': 'x-blockdev-change', 'arguments':{'parent': 'colo-disk0', 'node': 'node0' } }
{'execute': 'migrate-set-capabilities', 'arguments': {'capabilities': [ {'capability': 'x-colo', 'state': true } ] } }
{'execute': 'migrate', 'arguments': {'uri': 'tcp:192.168.2.88:8888' } }
{'execute': 'migrate-set-parameters' , 'arguments':{ 'x-checkpoint-delay': 2000 } }
{'execute': 'human-monitor-command', 'arguments': {'command-line': 'x_colo_lost_heartbeat'}}
{'execute': 'x-blockdev-change', 'arguments': {'parent': 'colo-disk0', 'child': 'children.1'}}
`;

(has('socat', '-V') ? test : test.skip)("socat: the seed's steps, word for word (skipped where socat is not installed)", async () => {
  vm.calls.length = 0;
  const { out } = await run('socat', ['-t', '2', '-', `UNIX-CONNECT:${path}`], steps);
  const answers = out.trim().split('\n').map(line => JSON.parse(line) as Record<string, unknown>).filter(message => !('event' in message) && !('QMP' in message));
  expect(answers).toHaveLength(steps.trim().split('\n').length);
  const refused = answers.flatMap((answer, n) => ('error' in answer ? [`${steps.split('\n')[n].slice(0, 50)}: ${JSON.stringify(answer['error'])}`] : []));
  expect(refused).toEqual([]);
  expect(vm.calls).toEqual(expect.arrayContaining(['nbd-add {"device":"colo-disk0","writable":true}', 'migrate "tcp:192.168.2.88:8888"']));
  expect(vm.migration?.parameters()).toMatchObject({ 'x-checkpoint-delay': 2000 });
  expect(vm.migration?.capabilities()).toContainEqual({ capability: 'x-colo', state: true });
});
