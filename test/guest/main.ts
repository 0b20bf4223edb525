/**
 * `npm run guest -- DIR`: the demo's guest as DIR/vmlinuz and DIR/initrd.cpio, to start VMs with by
 * hand.
 */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../src/host/node/folder.js';
import { prepareGuest } from './build.js';
import { progress } from './kernel.js';

const [dir, ...others] = process.argv.slice(2);
if (dir === undefined || dir.startsWith('-') || others.length > 0) {
  console.error('npm run guest -- DIR: makes DIR/vmlinuz and DIR/initrd.cpio');
  process.exit(2);
}
try {
  const { kernel, initrd } = await prepareGuest({}, progress(process.stderr, console.error));
  makeFolder(dir);
  copyFileSync(kernel, join(dir, 'vmlinuz'));
  copyFileSync(initrd, join(dir, 'initrd.cpio'));
  console.log(
    `${join(dir, 'vmlinuz')}: Debian's cloud kernel\n${join(dir, 'initrd.cpio')}: an init ` +
      'that counts over TCP and writes its disk',
  );
} catch (error) {
  console.error(`guest: ${(error as Error).message}`);
  process.exitCode = 1;
}
