/**
 * Goal: a QMP client sees what it would see from QEMU: greeting, negotiation, ids, error texts,
 * events; and no client disturbs the VM. Method: the server on a channel whose peer is the test,
 * over a machine that only remembers.
 */
import fc from 'fast-check';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { MAX_QUEUED_BYTES } from '../../../src/monitor/output.js';
import { QmpServer } from '../../../src/monitor/qmp/server.js';
import { FakeChar, settle } from '../../support/fake-char.js';
import { type RememberingVm, rememberingVm } from '../../support/remembering-vm.js';

const wallMs = 1_795_379_668_713.25;

async function start(vm: RememberingVm = rememberingVm(), negotiate = true) {
  const chr = new FakeChar();
  const log: string[] = [];
  const server = new QmpServer(vm, monitorRegistry, chr, {
    wallMs: () => wallMs,
    log: line => log.push(line),
  });
  chr.connect();
  const ask = async (text: string) => {
    chr.type(text);
    await settle();
    return chr.take();
  };
  const greeting = chr.take();
  if (negotiate) await ask('{"execute":"qmp_capabilities"}');
  return { vm, chr, server, ask, log, greeting };
}

const failure = (desc: string, errorClass = 'GenericError') => [
  { error: { class: errorClass, desc } },
];

test('greeting', async () => {
  const { greeting } = await start(rememberingVm(), false);
  expect(greeting).toEqual([
    {
      QMP: {
        version: { qemu: { micro: 0, minor: 2, major: 7 }, package: 'colo 0.1.0' },
        capabilities: ['oob'],
      },
    },
  ]);
});

test('negotiation comes first, and once', async () => {
  const { ask } = await start(rememberingVm(), false);
  expect(await ask('{"execute":"query-status","id":1}')).toEqual([
    {
      id: 1,
      error: {
        class: 'CommandNotFound',
        desc: "Expecting capabilities negotiation with 'qmp_capabilities'",
      },
    },
  ]);
  expect(await ask('{"execute":"qmp_capabilities","arguments":{"enable":["zip"]}}')).toEqual(
    failure("Parameter 'enable[0]' does not accept value 'zip'"),
  );
  expect(await ask('{"execute":"qmp_capabilities"}')).toEqual([{ return: {} }]);
  expect(await ask('{"execute":"qmp_capabilities"}')).toEqual(
    failure('Capabilities negotiation is already complete, command ignored', 'CommandNotFound'),
  );
});

/** As a stock QEMU 7.2 answers. */
test.each([
  ['{"execute":"foo"}', 'The command foo has not been found', 'CommandNotFound'],
  ['{"execute":"query-status","arguments":{"x":1}}', "Parameter 'x' is unexpected"],
  ['{"execute":"query-status","foo":1}', "QMP input member 'foo' is unexpected"],
  ['{"exec":"query-status"}', "QMP input member 'exec' is unexpected"],
  ['{}', "QMP input lacks member 'execute'"],
  ['{"execute":1}', "QMP input member 'execute' must be a string"],
  ['{"execute":"stop","arguments":[]}', "QMP input member 'arguments' must be an object"],
  ['42\n', 'QMP input must be a JSON object'],
  ['abc\n', "JSON parse error, invalid keyword 'abc'"],
  ['{"execute":"migrate"}', "Parameter 'uri' is missing"],
  [
    '{"execute":"migrate","arguments":{"uri":1}}',
    "Invalid parameter type for 'uri', expected: string",
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":1}}',
    "Invalid parameter type for 'capabilities', expected: array",
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[1]}}',
    "Invalid parameter type for 'capabilities[0]', expected: object",
  ],
  [
    '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"x-colo"}]}}',
    "Parameter 'capabilities[0].state' is missing",
  ],
  [
    '{"execute":"migrate-set-capabilities",' +
      '"arguments":{"capabilities":[{"capability":"x-colo","state":true,"z":1}]}}',
    "Parameter 'capabilities[0].z' is unexpected",
  ],
  ['{"execute":"migrate-set-parameters","arguments":{"foo":1}}', "Parameter 'foo' is unexpected"],
  [
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"inet"}}}',
    "Parameter 'addr.data' is missing",
  ],
  [
    '{"execute":"nbd-server-start","arguments":{"addr":{"data":{}}}}',
    "Parameter 'addr.type' is missing",
  ],
  [
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"foo"}}}',
    "Parameter 'type' does not accept value 'foo'",
  ],
  [
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"inet","data":{"host":"h"}}}}',
    "Parameter 'addr.data.port' is missing",
  ],
  [
    '{"execute":"nbd-server-start","arguments":{"addr":{"type":"inet","data":{"host":"h",' +
      '"port":1}}}}',
    "Invalid parameter type for 'addr.data.port', expected: string",
  ],
  ['{"execute":"nbd-server-stop"}', 'NBD server not running'],
  ['{"execute":"x-colo-lost-heartbeat"}', "The feature 'colo' is not enabled"],
])('%s', async (text, desc, errorClass = 'GenericError') => {
  const { ask } = await start();
  expect(await ask(text)).toEqual(failure(desc, errorClass));
});

test('integers are checked', async () => {
  const { ask } = await start();
  const set = (value: string) =>
    ask(`{"execute":"migrate-set-parameters","arguments":{"x-checkpoint-delay":${value}}}`);
  expect(await set('"a"')).toEqual(
    failure("Invalid parameter type for 'x-checkpoint-delay', expected: integer"),
  );
  expect(await set('1.5')).toEqual(
    failure("Invalid parameter type for 'x-checkpoint-delay', expected: integer"),
  );
  expect(await set('-1')).toEqual(
    failure("Parameter 'x-checkpoint-delay' expects an integer from 0 to 4294967295"),
  );
  expect(await set('18446744073709551616')).toEqual(
    failure("Parameter 'x-checkpoint-delay' expects an integer from 0 to 4294967295"),
  );
  expect(await set('2000')).toEqual([{ return: {} }]);
});

test('ids come back, whatever they are; answers keep their order', async () => {
  const { ask } = await start();
  const sent =
    `{"execute":"query-name","id":{"a":'b'}}{"execute":"nope","id":[null]} ` +
    `{'execute':'query-uuid','id':9007199254740993}`;
  const got = await ask(sent);
  expect(got.map(m => Object.keys(m))).toEqual([
    ['return', 'id'],
    ['id', 'error'],
    ['return', 'id'],
  ]);
  expect(got[0]['id']).toEqual({ a: 'b' });
});

test('the session is the same however the bytes are cut', async () => {
  const script =
    `{"execute":"qmp_capabilities"}{'execute':'query-status','id':'é'}\n[1,2] ` +
    '{"execute":"stop"}{"execute":"query-status"}';
  const run = async (chunks: Uint8Array[]) => {
    const { chr } = await start(rememberingVm(), false);
    for (const chunk of chunks) chr.type(chunk);
    await settle();
    return chr.take();
  };
  const wire = Buffer.from(script);
  const whole = await run([wire]);
  expect(whole).toHaveLength(6);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(wire.length), { maxLength: 12 }), async cuts => {
      const at = [...new Set([0, ...cuts, wire.length])].sort((a, b) => a - b);
      expect(await run(at.slice(1).map((end, i) => wire.subarray(at[i], end)))).toEqual(whole);
    }),
    { numRuns: 60 },
  );
});

test('events carry a timestamp, and come only after negotiation', async () => {
  const { vm, chr, ask } = await start(rememberingVm(), false);
  await vm.machine.stop();
  expect(chr.take()).toEqual([]);
  await ask('{"execute":"qmp_capabilities"}');
  expect(await ask('{"execute":"cont"}')).toEqual([
    { timestamp: { seconds: 1_795_379_668, microseconds: 713_250 }, event: 'RESUME' },
    { return: {} },
  ]);
  vm.machine.events.emit('COLO_EXIT', { mode: 'primary', reason: 'error' });
  expect(chr.take()).toMatchObject([
    { event: 'COLO_EXIT', data: { mode: 'primary', reason: 'error' } },
  ]);
});

test('MIGRATION events follow the capability', async () => {
  const { vm, chr, ask } = await start();
  vm.machine.events.emit('MIGRATION', { status: 'active' });
  expect(chr.take()).toEqual([]);
  await ask(
    '{"execute":"migrate-set-capabilities",' +
      '"arguments":{"capabilities":[{"capability":"events","state":true}]}}',
  );
  vm.machine.events.emit('MIGRATION', { status: 'active' });
  expect(chr.take()).toMatchObject([{ event: 'MIGRATION' }]);
});

test('half-close: what was sent is answered, then the server hangs up', async () => {
  const { chr } = await start();
  chr.type('{"execute":"query-status"}{"execute":"query-name"}');
  chr.endInput();
  expect(chr.hungUp).toBe(0);
  await settle();
  expect(chr.take()).toHaveLength(2);
  expect(chr.hungUp).toBe(1);
});

test('half-close in the middle of a command is a parse error', async () => {
  const { chr } = await start();
  chr.type('{"execute":');
  chr.endInput();
  await settle();
  expect(chr.take()).toEqual(failure('JSON parse error, premature EOI'));
});

test('a client that does not read gets no further command begun, and piles up no input', async () => {
  const { vm, chr } = await start();
  chr.reading = false;
  chr.type('{"execute":"stop"}{"execute":"cont"}');
  await settle();
  expect(vm.machine.runState).toBe('paused');
  chr.type(Buffer.alloc(100 << 10, ' '));
  expect(chr.paused).toBe(true);
  chr.startReading();
  await settle();
  expect(vm.machine.runState).toBe('running');
  expect(chr.paused).toBe(false);
});

test('a client that does not read at all loses its connection, with the reason in the log', async () => {
  const { vm, chr, log } = await start();
  chr.reading = false;
  const error = 'x'.repeat(1000);
  for (let sent = 0; sent <= MAX_QUEUED_BYTES; sent += 1000)
    vm.machine.events.emit('COLO_EXIT', { mode: 'primary', reason: 'error', error });
  expect(chr.hungUp).toBe(1);
  expect(log[0]).toMatch(
    /^QMP client on fake does not read: \d+ bytes dropped, connection closed$/,
  );
});

test('every connection negotiates anew', async () => {
  const { chr, ask } = await start();
  chr.disconnect();
  chr.connect();
  expect(chr.take()).toHaveLength(1);
  expect(await ask('{"execute":"query-status"}')).toMatchObject([
    { error: { class: 'CommandNotFound' } },
  ]);
});

test('human-monitor-command: CR LF line ends; errors are text', async () => {
  const { ask, vm } = await start();
  const hmp = async (line: string) =>
    (
      await ask(
        JSON.stringify({ execute: 'human-monitor-command', arguments: { 'command-line': line } }),
      )
    )[0]['return'];
  expect(await hmp('info status')).toBe('VM status: running\r\n');
  expect(await hmp('drive_add -n buddy if=none,id=x,file.driver=nbd')).toBe('OK\r\n');
  expect(await hmp('drive_add buddy driver=nbd, odd "text"')).toBe('OK\r\n');
  expect(vm.calls).toEqual([
    'drive-add ["if=none,id=x,file.driver=nbd",{"noBackend":true}]',
    'drive-add ["driver=nbd, odd \\"text\\"",{"noBackend":false}]',
  ]);
  expect(await hmp('nbd_server_stop')).toBe('Error: NBD server not running\r\n');
  expect(await hmp('')).toBe('');
  expect(await hmp('migrate tcp:h:1')).toBe(
    'terminal does not allow synchronous migration, continuing detached\r\n',
  );
});

test('query-qmp-schema: every type that is named is there', async () => {
  const { ask } = await start();
  const schema = (await ask('{"execute":"query-qmp-schema"}'))[0]['return'] as Record<
    string,
    unknown
  >[];
  const names = new Set(schema.map(e => e['name']));
  expect(names.size).toBe(schema.length);
  const used = schema.flatMap(e => [
    e['arg-type'],
    e['ret-type'],
    e['element-type'],
    ...[
      ...((e['members'] ?? []) as Record<string, unknown>[]),
      ...((e['variants'] ?? []) as Record<string, unknown>[]),
    ].map(m => m['type']),
  ]);
  expect(used.filter(name => name !== undefined && !names.has(name))).toEqual([]);
  const listed = async (command: string) =>
    ((await ask(`{"execute":"${command}"}`))[0]['return'] as { name: string }[])
      .map(c => c.name)
      .sort();
  const kind = (meta: string) =>
    schema
      .filter(e => e['meta-type'] === meta)
      .map(e => e['name'])
      .sort();
  expect(kind('command')).toEqual(await listed('query-commands'));
  expect(kind('event')).toEqual(await listed('query-events'));
  expect(schema.find(e => e['name'] === 'q_obj_SHUTDOWN-arg')).toEqual({
    name: 'q_obj_SHUTDOWN-arg',
    'meta-type': 'object',
    members: [
      { name: 'guest', type: 'bool' },
      { name: 'reason', type: 'str' },
    ],
  });
  expect(schema.filter(e => e['allow-oob']).map(e => e['name'])).toEqual(['query-yank', 'yank']);
});

describe('out of band', () => {
  const enableOob = '{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}';
  /** nbd-server-stop waits until the test says so. */
  async function stuck() {
    const vm = rememberingVm();
    const free: (() => void)[] = [];
    Object.assign(vm.block.nbd, {
      stop: () => new Promise<void>(resolve => free.push(resolve)),
    });
    const session = await start(vm, false);
    expect(await session.ask(enableOob)).toEqual([{ return: {} }]);
    return { ...session, free };
  }

  test('exec-oob is answered while an earlier command waits; in band the order stays', async () => {
    const { ask, vm, free } = await stuck();
    expect(
      await ask('{"execute":"nbd-server-stop","id":1}{"execute":"query-name","id":2}'),
    ).toEqual([]);
    expect(
      await ask('{"exec-oob":"yank","arguments":{"instances":[{"type":"migration"}]},"id":"y"}'),
    ).toEqual([{ return: {}, id: 'y' }]);
    expect(vm.calls).toEqual(['yank']);
    expect(await ask('{"exec-oob":"query-yank","id":3}')).toEqual([
      { return: [{ type: 'migration' }], id: 3 },
    ]);
    free[0]();
    expect(await ask('')).toEqual([
      { return: {}, id: 1 },
      { return: { name: 'test' }, id: 2 },
    ]);
  });

  test('what may wait is refused out of band; without the capability the word is unknown', async () => {
    const { ask } = await stuck();
    expect(await ask('{"exec-oob":"stop"}')).toEqual(
      failure('The command stop does not support OOB'),
    );
    expect(await ask('{"exec-oob":"nope"}')).toEqual(
      failure('The command nope has not been found', 'CommandNotFound'),
    );
    expect(await ask('{"exec-oob":1}')).toEqual(
      failure("QMP input member 'exec-oob' must be a string"),
    );
    expect(await ask('{"exec-oob":"yank","execute":"stop"}')).toEqual(
      failure("QMP input member 'execute' is unexpected"),
    );
    const plain = await start();
    expect(await plain.ask('{"exec-oob":"yank"}')).toEqual(
      failure("QMP input member 'exec-oob' is unexpected"),
    );
  });

  test('eight commands may wait; then nothing is read, and the client is held back', async () => {
    const { ask, chr, vm, free } = await stuck();
    await ask('{"execute":"nbd-server-stop"}'.repeat(20));
    expect(await ask('{"exec-oob":"query-yank"}')).toEqual([]);
    chr.type(Buffer.alloc(100 << 10, ' '));
    expect(chr.paused).toBe(true);
    for (let i = 0; i < 13; i++) {
      await settle();
      free[i]();
    }
    await settle();
    expect(chr.take()).toHaveLength(14);
    for (let i = 13; i < 20; i++) {
      free[i]();
      await settle();
    }
    expect([chr.take().length, chr.paused, vm.calls]).toEqual([7, false, []]);
  });

  test('half-close and hang-up with commands that wait', async () => {
    const { ask, chr, free } = await stuck();
    await ask('{"execute":"nbd-server-stop","id":1}{"execute":"query-name","id":2}');
    chr.endInput();
    await settle();
    expect(chr.hungUp).toBe(0);
    free[0]();
    await settle();
    expect([chr.take().length, chr.hungUp]).toEqual([2, 1]);
    const second = await stuck();
    await second.ask('{"execute":"nbd-server-stop"}{"execute":"stop"}');
    second.chr.disconnect();
    second.free[0]();
    await settle();
    expect([second.chr.take(), second.vm.machine.runState]).toEqual([[], 'running']);
  });

  test('one client waits, another does not', async () => {
    const { ask, vm } = await stuck();
    await ask('{"execute":"nbd-server-stop"}');
    const other = await start(vm);
    expect(await other.ask('{"execute":"query-status"}')).toEqual([
      { return: { running: true, status: 'running' } },
    ]);
  });
});
