/**
 * A guest that writes and a block job over a chain of three qcow2 images, as a process that can be
 * killed: `mirror|commit|middle|stream DIR`. Says in a line each how many writes were flushed, and
 * when the job moves. Not a test by itself.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { startCommit, startStream } from '../../src/block/jobs/start-commit.js';
import { startMirror } from '../../src/block/jobs/start.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { parseDrive } from '../../src/block/options/options.js';
import { nodeHost } from '../../src/host/node/host.js';
import { FLUSH_EVERY, guestWrite } from './job-load.js';

const [what, dir] = process.argv.slice(2);
const at = (name: string) => join(dir, name);
const say = (line: string) => writeSync(1, `${line}\n`);
const layer = new BlockLayer(nodeHost());
await layer.addDrive(parseDrive(`id=d0,file=${at('top')},format=qcow2`));
const guest = layer.claim('d0', 'disk0');
const common = { device: 'd0', speed: 24 * 1024 * 1024 };
if (what === 'mirror')
  await startMirror(layer.startContext, {
    ...common,
    sync: 'full',
    target: { target: at('target'), mode: 'absolute-paths' },
  });
else if (what === 'stream') await startStream(layer.startContext, common);
else
  await startCommit(layer.startContext, what === 'middle' ? { ...common, top: at('mid') } : common);
let moved = false;
for (let n = 0; ; n++) {
  const { offset, data } = guestWrite(n);
  await guest.pwrite(offset, data);
  if ((n + 1) % FLUSH_EVERY === 0) {
    await guest.flush();
    say(String(n + 1));
  }
  if (!moved && n >= FLUSH_EVERY && (layer.jobs.query()[0]?.offset ?? 1) > 0) {
    moved = true;
    say('moves');
  }
  await new Promise(resolve => setTimeout(resolve, 1));
}
