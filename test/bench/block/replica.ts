/**
 * The secondary of the replication bench, in a process of its own as in life: DIR SOCKET. Says when
 * it is ready; ends with its standard input.
 */
import { secondaryOf } from './secondary.js';

const [dir, path] = process.argv.slice(2);
const { layer, disk } = await secondaryOf(dir, path);
process.stdout.write('ready\n');
for await (const _bytes of process.stdin);
await disk.stop(false);
await layer.close();
