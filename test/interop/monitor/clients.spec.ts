/**
 * Goal: a client that others wrote drives our QMP socket: socat, with the steps of COLO's first
 * documentation as they stand there, single quotes and all. Method: the QMP server over a unix
 * socket with a machine of the test behind it; skipped by name where socat is missing.
 */
import { parameterValues } from '../../../src/monitor/parameters.js';
import { spawnSync, spawn } from 'node:child_process';
import { type FakeQmp, fakeQmp } from '../../support/fake-qmp.js';

const has = (program: string, flag: string) => spawnSync(program, [flag]).status === 0;
let qmp: FakeQmp;

beforeAll(async () => void (qmp = await fakeQmp()));
afterAll(() => qmp.close());

function run(
  program: string,
  args: string[],
  input: string,
): Promise<{ out: string; err: string; code: number | null }> {
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

(has('socat', '-V') ? test : test.skip)(
  "socat: the seed's steps, word for word (skipped where socat is not installed)",
  async () => {
    qmp.vm.calls.length = 0;
    const { out } = await run('socat', ['-t', '2', '-', `UNIX-CONNECT:${qmp.path}`], steps);
    const answers = out
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, unknown>)
      .filter(message => !('event' in message) && !('QMP' in message));
    expect(answers).toHaveLength(steps.trim().split('\n').length);
    const refused = answers.flatMap((answer, n) =>
      'error' in answer
        ? [`${steps.split('\n')[n].slice(0, 50)}: ${JSON.stringify(answer['error'])}`]
        : [],
    );
    expect(refused).toEqual([]);
    expect(qmp.vm.calls).toEqual(
      expect.arrayContaining([
        'nbd-add {"device":"colo-disk0","writable":true}',
        'migrate "tcp:192.168.2.88:8888"',
      ]),
    );
    expect(parameterValues(qmp.vm)).toMatchObject({ 'x-checkpoint-delay': 2000 });
    expect(qmp.vm.colo.capability.get('x-colo')).toBe(true);
  },
);
