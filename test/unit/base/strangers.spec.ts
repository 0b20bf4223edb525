/**
 * Goal: what a peer, a server or an image says cannot steer the terminal that it ends up on.
 * Method: an escape sequence in each text that gets into a sentence of ours, and the sentence.
 */
import { expect, jest, test } from '@jest/globals';
import { VmError } from '../../../src/base/errors.js';
import { printableLines } from '../../../src/base/printable.js';
import { answeredError } from '../../../src/block/nbd/client-protocol.js';
import { note, noteError } from '../../../src/commands/output.js';
import { codecOf, kindOf } from '../../../src/colo/messages.js';
import { frameHead } from '../../../src/migration/frames.js';
import { sentence } from '../../../src/migration/kinds.js';
import { decodeHello } from '../../../src/migration/manifest.js';
import { FullBoard } from '../../support/full-board.js';

const ESCAPE = '\x1b]0;owned\x07';
const SHOWN = '\\x1b]0;owned\\x07';

const lastWords = { text: `disk full${ESCAPE}\nrefused` };
test.each([
  ['migration', sentence.decode(Buffer.from(sentence.encode(lastWords)))],
  ['COLO', said(codecOf('secondary').encode({ type: 'leaving', ...lastWords }))],
])('the last words of a peer: %s', (_, { text }) => {
  expect(text).toBe(`disk full${SHOWN}\\x0arefused`);
});

function said(frame: Buffer): { text: string } {
  const kind = kindOf('leaving');
  const message = codecOf('primary').decode(kind, frame.subarray(frameHead(kind.ordinal)));
  return message as { type: 'leaving'; text: string };
}

test('the names in a manifest are refused', () => {
  const cpu = {
    model: ESCAPE,
    vendor: '',
    signature: 0,
    features: [],
    sockets: 1,
    cores: 1,
    threads: 1,
  };
  const hello = {
    colo: true,
    leaseMs: 1,
    manifest: { ramBytes: 1, cpus: 1, cpu, accel: 'soft', devices: [], disks: [], netdevs: [] },
  };
  expect(() => decodeHello(Buffer.from(JSON.stringify(hello)))).toThrow(
    'cpu.model is not a short text',
  );
});

test('the sections of a device state', () => {
  const blob = new FullBoard().board.devices.save();
  const at = blob.indexOf('pci-host');
  blob.write('\x1b', at, 'latin1');
  expect(() => new FullBoard().board.devices.parse(blob)).toThrow(
    "section '\\x1bci-host' stands in its place",
  );
});

test('what reaches standard error', () => {
  const written: string[] = [];
  const write = jest
    .spyOn(process.stderr, 'write')
    .mockImplementation(text => written.push(String(text)) > 0);
  try {
    note(`one${ESCAPE}\ntwo`);
    noteError(new VmError(`backing file '${ESCAPE}' is not there`));
    noteError(answeredError('x', { errno: 5, said: ESCAPE }));
  } finally {
    write.mockRestore();
  }
  expect(written[0]).toBe(`one${SHOWN}\ntwo\n`);
  expect(written[1]).toContain(`backing file '${SHOWN}' is not there`);
  expect(written.join('').replace(/\x1b\[3[19]m/g, '')).not.toContain('\x1b');
});

test('lines stay lines', () => expect(printableLines('a\nb\x1b\n')).toBe('a\nb\\x1b\n'));
