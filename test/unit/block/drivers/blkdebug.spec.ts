/**
 * Goal: blkdebug fails what its rules say and nothing else, and qcow2 outlives a failure at each of
 * its steps. Method: rules by QEMU's options on a simulated host; a workload with one failure per
 * event, then the image's own check and a comparison with a flat array.
 */
import { checkQcow2 } from '../../../../src/block/drivers/qcow2/check.js';
import { BlkdebugDriver } from '../../../../src/block/drivers/blkdebug.js';
import { debugEvents } from '../../../../src/block/contract/debug-event.js';
import type { InjectError, IoType } from '../../../../src/block/options/blkdebug-rules.js';
import { readHeader } from '../../../../src/block/drivers/qcow2/image.js';
import { ioCode } from '../../../../src/block/contract/io-error.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { BlockNode } from '../../../../src/block/contract/node.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { LoggedFile, newImage, openImage } from '../../../support/qcow2.js';

const at = (rules: string) =>
  `if=none,id=d,driver=raw,file.driver=blkdebug,file.image.filename=/a,${rules}`;
async function drive(rules: string) {
  const host = testHost();
  host.files.put('/a', pattern(65536));
  const layer = new BlockLayer(host);
  await layer.addDrive(parseDrive(at(rules)));
  return { host, node: layer.backend('d').node, layer };
}
/** In QEMU's way a failure comes after a turn of the main loop: the clock must move. */
async function outcome(
  host: ReturnType<typeof testHost>,
  request: Promise<unknown>,
): Promise<string> {
  const settled = request.then(
    () => 'ok',
    (error: unknown) => ioCode(error),
  );
  await host.clock.advance(1);
  return settled;
}

test('sector, iotype, errno and once', async () => {
  const { host, node } = await drive(
    'file.inject-error.0.event=write_aio,file.inject-error.0.errno=28,' +
      'file.inject-error.0.sector=5,file.inject-error.0.once=on,' +
      'file.inject-error.0.iotype=write',
  );
  expect(await outcome(host, node.pread(5 * 512, 512))).toBe('ok');
  expect(await outcome(host, node.pwrite(0, pattern(5 * 512, 2)))).toBe('ok');
  expect(await outcome(host, node.writeZeroes(5 * 512, 512))).toBe('ok');
  expect(await outcome(host, node.pwrite(4 * 512, pattern(1024, 3)))).toBe('ENOSPC');
  expect(await outcome(host, node.pwrite(4 * 512, pattern(1024, 3)))).toBe('ok');
  expectSame(await node.pread(4 * 512, 1024), pattern(1024, 3));
});

test('states: the second flush arms the failure of reads, which stays', async () => {
  const { host, node } = await drive(
    'file.set-state.0.event=flush_to_disk,file.set-state.0.state=1,' +
      'file.set-state.0.new_state=2,file.set-state.1.event=flush_to_disk,' +
      'file.set-state.1.state=2,file.set-state.1.new_state=3,' +
      'file.inject-error.0.event=read_aio,file.inject-error.0.state=3,' +
      'file.inject-error.0.immediately=on',
  );
  await node.flush();
  expect(await outcome(host, node.pread(0, 512))).toBe('ok');
  await node.flush();
  await expect(node.pread(0, 512)).rejects.toThrow('blkdebug: read at 0: injected EIO');
  await expect(node.pread(512, 512)).rejects.toThrow('injected EIO');
});

test('event none: from the start; removal of the node and its image', async () => {
  const { host, layer, node } = await drive(
    'file.inject-error.0.event=none,file.inject-error.0.errno=1,file.inject-error.0.iotype=flush',
  );
  expect(await outcome(host, node.flush())).toBe('EPERM');
  await layer.driveDel('d');
  expect(layer.graph.all()).toEqual([]);
});

test.each([
  ['file.inject-error.0.errno=5', "'file.inject-error.0.event' is missing"],
  ['file.inject-error.0.event=lunch', "'file.inject-error.0.event' takes"],
  [
    'file.inject-error.0.event=read_aio,file.inject-error.0.errno=77',
    "'file.inject-error.0.errno' takes one of",
  ],
  [
    'file.inject-error.0.event=read_aio,file.inject-error.0.sectors=7',
    "'file.inject-error.0.sectors' is not known",
  ],
  ['file.inject-error.0=read_aio', "'file.inject-error' takes a group"],
  ['file.set-state.0.event=read_aio', "'file.set-state.0.new_state' is missing"],
])('refused: %s', (rules, message) => expect(() => parseDrive(at(rules))).toThrow(message));

const SIZE = 512 * 1024;
const kinds: (IoType | undefined)[] = [undefined, 'write', 'read'];
test.each(debugEvents.filter(e => e !== 'none'))(
  'qcow2 stays consistent after a failure at %s',
  async event => {
    for (const [n, iotype] of kinds.entries()) {
      const log = new LoggedFile();
      await newImage({ size: SIZE, clusterSize: 512, refcountBits: 16 }, log);
      const rule: InjectError = {
        event,
        state: 0,
        code: 'EIO',
        once: true,
        immediately: true,
        iotype,
      };
      const file = new BlockNode(
        'file',
        new BlkdebugDriver(
          new BlockNode('image', log),
          { injectError: [rule], setState: [] },
          testHost().clock,
          false,
        ),
      );
      const { node, driver } = await openImage(file);
      const model = Buffer.alloc(SIZE);
      const unsure: [number, number][] = [];
      const step = async (offset: number, data: Buffer, request: () => Promise<void>) => {
        data.copy(model, offset);
        // What a failed request leaves in its range is nobody's promise.
        await request().catch(() => unsure.push([offset, data.length]));
      };
      for (let i = 0; i < 40; i++) {
        const offset = ((i * 7919 + n * 31) % 1000) * 512;
        const data = pattern(((i % 5) + 1) * 2048, i).subarray(0, SIZE - offset);
        if (i % 9 === 3)
          await step(offset, Buffer.alloc(data.length), () =>
            node.writeZeroes(offset, data.length),
          );
        else if (i % 9 === 5)
          await step(offset, Buffer.alloc(512, 7), () =>
            driver.writeCompressed(offset, Buffer.alloc(512, 7)),
          );
        else await step(offset, data, () => node.pwrite(offset, data));
        if (i % 6 === 0) await node.flush().catch(() => undefined);
      }
      const got = await node.pread(0, SIZE).catch(() => node.pread(0, SIZE));
      for (let round = 0; round < 3; round++) await node.flush().catch(() => undefined);
      for (const [offset, length] of unsure) got.copy(model, offset, offset, offset + length);
      expectSame(got, model);
      await node.close();
      const reread = new BlockNode('file', new LoggedFile(Buffer.from(log.data)));
      const { corruptions, messages } = await checkQcow2(reread, await readHeader(reread));
      expect({
        event,
        iotype,
        corruptions,
        messages: messages.filter(m => m.startsWith('ERROR')),
      }).toEqual({ event, iotype, corruptions: 0, messages: [] });
      expectSame(await (await openImage(reread, { readOnly: true })).node.pread(0, SIZE), got);
    }
  },
);
