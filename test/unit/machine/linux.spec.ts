/**
 * Goal: a kernel that cannot run is refused before the machine starts. Method: headers made by
 * hand.
 */
import { planLinux } from '../../../src/machine/loader/linux.js';
import { fakeKernel } from '../../support/fake-kernel.js';

const MIB = 1 << 20;
const plan = (bytes: Uint8Array, ramMib: number) =>
  planLinux({ kernel: { path: 'k', bytes }, append: '', ramBytes: ramMib * MIB, rsdp: 0 });

test('a whole kernel is placed at its preferred address', () => {
  expect(plan(fakeKernel(), 32).pieces[0].gpa).toBe(16 * MIB);
});

test('a kernel that was cut off is not half a kernel', () => {
  const image = fakeKernel();
  expect(() => plan(image.subarray(0, image.length - 16), 32)).toThrow(
    `-kernel k: truncated, ${image.length - 16} bytes of ${image.length}`,
  );
});

test('a relocatable kernel too needs the RAM above its preferred address', () => {
  expect(() => plan(fakeKernel({ initBytes: 53 * MIB }), 64)).toThrow(
    '-kernel k: needs 69 MiB of RAM, the machine has 64',
  );
});
