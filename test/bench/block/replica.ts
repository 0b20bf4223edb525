/** The secondary of the replication bench, in a process of its own as in life: DIR SOCKET. Says when it is ready; ends with its standard input. */
import { BlockLayer } from '../../../src/block/layer.js';
import { parseDrive } from '../../../src/block/options.js';
import { nodeHost } from '../../../src/host/node/host.js';

const [dir, path] = process.argv.slice(2);
const layer = new BlockLayer(nodeHost());
await layer.addDrive(parseDrive(`if=none,id=c,file.filename=${dir}/s.img,driver=raw`));
await layer.addDrive(parseDrive('if=virtio,id=a,driver=replication,mode=secondary,file=c'));
layer.claim('a', 'guest');
await layer.nbd.start({ kind: 'unix', path });
layer.nbdServerAdd({ device: 'c', writable: true });
const [disk] = layer.replicated('secondary');
await disk.start('secondary');
process.stdout.write('ready\n');
for await (const _bytes of process.stdin);
await disk.stop(false);
await layer.close();
