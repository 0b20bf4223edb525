// For bin/build.js: runs a VM of the bundle in the folder that is given, and keeps beside it, at
// the end, what V8 has compiled for it.
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const folder = `${pathToFileURL(process.argv[2]).href}/`;
const { cachePath, loadCached } = await import(new URL('start.js', folder));
const bundle = new URL('vm.cjs', folder).href;
const loaded = loadCached(bundle);
process.on('exit', () => writeFileSync(cachePath(bundle), loaded.makeCache()));
const machine = ['-S', '-m', '16', '-accel', 'soft'];
await loaded.exports.quicklyVm(['primary', ...machine, '-qmp', 'stdio']);
