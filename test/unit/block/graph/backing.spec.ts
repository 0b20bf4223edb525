/**
 * Goal: which backing names of an image are opened, and as what; every other is refused in words.
 * Method: headers with names.
 */
import { backingOf } from '../../../../src/block/graph/backing.js';
import type { Qcow2Header } from '../../../../src/block/drivers/qcow2/header.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { LoggedFile, newImage } from '../../../support/qcow2.js';

async function specOf(backingFile: string, backingFormat?: string) {
  const host = testHost();
  host.files.put('/d/top', Buffer.alloc(512));
  const layer = new BlockLayer(host);
  const { node } = await layer.addDrive(parseDrive('file=/d/top,format=raw,id=d'));
  return backingOf({ backingFile, backingFormat } as Qcow2Header, node, 0);
}
const json = (value: unknown) => `json:${JSON.stringify(value)}`;
const file = (filename: string) => ({ driver: 'file', filename });

test.each<[string, string | undefined, string, string]>([
  [json({ driver: 'qcow2', file: file('0.qcow2') }), 'qcow2', 'qcow2', '/d/0.qcow2'],
  [json({ driver: 'qcow2', file: file('/abs') }), undefined, 'qcow2', '/abs'],
  [
    json({ driver: 'raw', 'file.driver': 'file', 'file.filename': 'x:y' }),
    undefined,
    'raw',
    '/d/x:y',
  ],
  [json({ driver: 'raw', file: { filename: 'r' } }), 'raw', 'raw', '/d/r'],
  [json({ file: file('r') }), 'raw', 'raw', '/d/r'],
  [json(file('r')), 'raw', 'raw', '/d/r'],
])('%s is as good as the name', async (name, format, driver, filename) => {
  expect(await specOf(name, format)).toMatchObject({
    driver,
    readOnly: true,
    file: { driver: 'file', readOnly: true, filename },
  });
});

test.each<[string, string | undefined, string]>([
  ['json:{', 'raw', 'this is no JSON'],
  ['json:7', 'raw', 'this is no object'],
  ['json:null', 'raw', 'this is no object'],
  [json([1]), 'raw', "'0' is more than that"],
  [
    json({ driver: 'raw', file: { driver: 'nbd', host: 'h' } }),
    'raw',
    "'file.host' is more than that",
  ],
  [
    json({ driver: 'raw', file: { driver: 'host_device', filename: '/dev/sda' } }),
    'raw',
    "the driver 'host_device' is more than that",
  ],
  [
    json({ driver: 'raw', file: { ...file('x'), locking: 'off' } }),
    'raw',
    "'file.locking' is more than that",
  ],
  [
    json({ driver: 'qcow2', file: file('x'), backing: file('y') }),
    'qcow2',
    "'backing.driver' is more than that",
  ],
  [
    json({ driver: 'qcow2', file: file('x'), backing: null }),
    'qcow2',
    "'backing' is more than that",
  ],
  [json({ driver: 'qcow2', file: 'node' }), 'qcow2', "'file' is more than that"],
  [
    json({ driver: 'qcow2', file: { driver: 'file', filename: 7 } }),
    'qcow2',
    "'file.filename' is no string",
  ],
  [json({ driver: 'raw', file: file('x') }), 'qcow2', "its format is 'qcow2'"],
  [json({ driver: 'vmdk', file: file('x') }), undefined, "format 'vmdk' is not implemented"],
  [json({ driver: 'raw' }), 'raw', 'it names no file'],
  [json(file('x')), undefined, 'does not say which format'],
  [json({ driver: 'raw', file: file('a\0b') }), 'raw', 'zero byte'],
  ['nbd:h:1', 'raw', 'only plain files are opened'],
])('%s (%s) is refused', async (name, format, why) => {
  await expect(specOf(name, format)).rejects.toThrow(why);
});

test('a chain of such names reads', async () => {
  const host = testHost();
  const log = new LoggedFile();
  await newImage(
    { size: 65536, backingFile: json({ driver: 'raw', file: file('base') }), backingFormat: 'raw' },
    log,
  );
  host.files.put('/d/top', log.data);
  host.files.put('/d/base', pattern(65536));
  const layer = new BlockLayer(host);
  const drive = await layer.addDrive(parseDrive('file=/d/top,format=qcow2,id=d'));
  expectSame(await drive.pread(0, 65536), pattern(65536));
  await layer.close();
});
