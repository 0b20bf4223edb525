/** The image files that a pair starts with. */
import { LoggedFile, newImage } from '../support/qcow2.js';
import type { SimStorage } from '../support/sim/files.js';
import { fakeKernel } from '../support/fake-kernel.js';
import { kernelPath } from './command-line.js';
import type { Scenario } from './misfortunes.js';
import { diskBytes, sectorBytes, sectors } from './model.js';

const kernel = fakeKernel({ preferred: 0x80_0000 });
let overlay: Promise<Buffer> | undefined;

/** An empty qcow2 image, made once. */
export function overlayImage(): Promise<Buffer> {
  return (overlay ??= makeOverlay());
}

async function makeOverlay(): Promise<Buffer> {
  const file = new LoggedFile();
  await newImage({ size: diskBytes, clusterSize: 4096 }, file);
  return file.data;
}

interface Images {
  overlay: Buffer;
  disks: number;
}

/** The primary's are zeroes, as its guest knows; the secondary's may be anything. */
export function prepareImages(
  storage: SimStorage,
  { different }: Scenario,
  { overlay: empty, disks }: Images,
): void {
  const { name, world } = storage;
  storage.put(kernelPath, kernel);
  for (let n = 0; n < disks; n++) {
    const image = Buffer.alloc(diskBytes);
    if (different && name === 'S') {
      for (let i = 0; i < 5; i++) image.fill(0xaa, sectorBytes * world.random.below(sectors));
    }
    storage.put(`/${name.toLowerCase()}${n}.img`, image);
    if (name === 'P') continue;
    for (const layer of ['active', 'hidden']) storage.put(`/${layer}${n}`, empty);
  }
}
