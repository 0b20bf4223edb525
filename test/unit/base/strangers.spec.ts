/**
 * Goal: what a peer, a server or an image says cannot steer the terminal that it ends up on.
 * Method: an escape sequence in each text that gets into a sentence of ours, and the sentence.
 */
import { expect, jest, test } from '@jest/globals';
import { VmError } from '../../../src/base/errors.js';
import { printableLines } from '../../../src/base/printable.js';
import { answeredError } from '../../../src/block/nbd/client-protocol.js';
import { note, noteError } from '../../../src/commands/output.js';
import { decodeHello } from '../../../src/migration/manifest.js';
import { commonBody, decodeCommon } from '../../../src/migration/messages.js';
import { FullBoard } from '../../support/full-board.js';

const ESCAPE = '\x1b]0;owned\x07';
const SHOWN = '\\x1b]0;owned\\x07';

test('the last words of a peer', () => {
  const body = commonBody({ type: 'error', text: `disk full${ESCAPE}\nrefused` });
  expect(decodeCommon('error', body)).toEqual({
    type: 'error',
    text: `disk full${SHOWN}\\x0arefused`,
  });
});

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
