/** Goal: null, file and stdio keep the contract. Method: fakes of the ports. */
import type { CharPorts, CharSpec, Stdio } from '../../../src/chardev/contract.js';
import { FileChar } from '../../../src/chardev/file.js';
import { NullChar } from '../../../src/chardev/null.js';
import { StdioChar } from '../../../src/chardev/stdio.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { OpenFile } from '../../../src/host/ports.js';
import { Chardevs } from '../../../src/vm/chardevs.js';
import { settle } from '../../support/fake-char.js';

function fakeFile(fail = false) {
  const written: Buffer[] = [];
  let release: () => void = () => undefined;
  const file = {
    path: '/log',
    pwrite: async (bytes: Uint8Array, offset: number) => {
      await new Promise<void>(resolve => (release = resolve));
      if (fail) throw new Error('No space left on device');
      Buffer.from(bytes).copy((written[0] ??= Buffer.alloc(64)), offset);
    },
    close: async () => void written.push(Buffer.from('closed')),
  } as unknown as OpenFile;
  return { file, written, release: async () => (release(), settle()) };
}

test('file: in order, from where it was opened, closed after the last byte', async () => {
  const { file, written, release } = fakeFile();
  const chr = new FileChar('f', 'file:/log', file, 3, () => undefined);
  chr.write(Buffer.from('ab'));
  chr.write(Buffer.from('c'));
  chr.dispose();
  await settle();
  await release();
  await release();
  expect(written[0].subarray(3, 6).toString()).toBe('abc');
  expect(written[1].toString()).toBe('closed');
});

test('file: a machine that ends waits until the last byte is written', async () => {
  const { file, release } = fakeFile();
  const open = { truncate: async () => undefined, size: async () => 0 };
  const files = { open: async () => Object.assign(file, open) };
  const ports = { files, clock: nodeHost().clock } as unknown as CharPorts;
  const backend = { kind: 'file', path: '/log', append: false } as const;
  const mux = { kind: 'mux', base: backend } as const;
  for (const spec of [backend, mux]) {
    const chardevs = await Chardevs.create([{ id: 'f', backend: spec }], ports);
    chardevs.claim('f', 'a port').value.write(Buffer.from('last words'));
    let closed = false;
    const closing = chardevs.close().then(() => (closed = true));
    await settle();
    expect(closed).toBe(false);
    await release();
    await closing;
  }
});

test('file: a full disk loses bytes, with one line in the log', async () => {
  const log: string[] = [];
  const { file, release } = fakeFile(true);
  const chr = new FileChar('f', 'file:/log', file, 0, line => log.push(line));
  for (let i = 0; i < 3; i++) expect(chr.write(Buffer.from('x'))).toBe(true);
  await settle();
  for (let i = 0; i < 3; i++) await release();
  expect(log).toEqual(['file:/log: output is lost: No space left on device']);
});

test('file: no room beyond a mebibyte, and room again when the disk is done', async () => {
  const { file, release } = fakeFile(true);
  const chr = new FileChar('f', 'file:/log', file, 0, () => undefined);
  let room = 0;
  chr.onRoom(() => room++);
  expect(chr.write(Buffer.alloc(1 << 20))).toBe(true);
  expect(chr.write(Buffer.from('x'))).toBe(false);
  await settle();
  await release();
  expect(room).toBe(1);
  expect(chr.write(Buffer.from('x'))).toBe(true);
});

test('null takes everything', () => {
  const events: string[] = [];
  const chr = new NullChar('n');
  chr.onEvent(event => events.push(event));
  expect([chr.write(), events]).toEqual([true, ['opened']]);
});

function stdio(input: Extract<CharSpec, { kind: 'stdio' }>['input'], isTerminal: boolean) {
  const did: string[] = [];
  let data: (bytes: Uint8Array) => void = () => undefined;
  let end: () => void = () => undefined;
  let drain: () => void = () => undefined;
  let reading = true;
  const port: Stdio = {
    terminal: isTerminal
      ? { columns: 80, rows: 24, colour: true, dumb: false, onResize: () => undefined }
      : undefined,
    setMode: mode => did.push(mode),
    interrupt: () => did.push('interrupt'),
    write: bytes => (did.push(`out ${Buffer.from(bytes).toString()}`), reading),
    onDrain: fn => (drain = fn),
    onData: fn => (data = fn),
    onEnd: fn => (end = fn),
    pause: () => undefined,
    resume: () => undefined,
  };
  const chr = new StdioChar('s', port, input);
  return {
    chr,
    did,
    type: (text: string) => data(Buffer.from(text)),
    end: () => end(),
    slow: () => (reading = false),
    drain: () => drain(),
  };
}

test('stdio: a serial console on a terminal gets keys; Ctrl-C stays a signal', () => {
  const { chr, did, type } = stdio('characters', true);
  let got = '';
  chr.onData(bytes => (got += Buffer.from(bytes).toString()));
  type('a');
  type('\x03');
  chr.dispose();
  expect([got, did, chr.terminal]).toEqual(['a', ['raw', 'interrupt', 'cooked'], undefined]);
});

test('stdio: a line editor gets Ctrl-C too; QMP leaves the terminal as it is', () => {
  const keys = stdio('keys', true);
  let got = '';
  keys.chr.onData(bytes => (got += Buffer.from(bytes).toString()));
  keys.type('\x03');
  expect([got, keys.did, keys.chr.terminal?.columns]).toEqual(['\x03', ['raw'], 80]);
  expect(stdio('lines', true).did).toEqual([]);
});

test('stdio: end of file ends the input, and nothing else; slow readers push back', () => {
  const { chr, end, did, slow, drain } = stdio('lines', false);
  const events: string[] = [];
  chr.onData(() => undefined);
  chr.onEvent(event => events.push(event));
  end();
  slow();
  let room = 0;
  chr.onRoom(() => room++);
  expect([chr.write(Buffer.from('1')), chr.write(Buffer.from('2'))]).toEqual([true, false]);
  drain();
  expect([room, events, did]).toEqual([1, ['opened'], ['out 1']]);
});
