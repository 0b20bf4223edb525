/** colo-pair(5): the pair definition, from its schema. */
import { defaultExample } from './pair-example.js';
import type { PairFields } from '../src/commands/pair/fields.js';
import { pairFields } from '../src/commands/pair/schema.js';
import { bold, escape, Page } from './roff.js';

export function pairPage(version: string): Page {
  const page = new Page(
    'colo-pair',
    5,
    'definition of a pair: what both sides are started from',
    version,
  );
  page.section_('DESCRIPTION');
  page.para(
    'A YAML file, the same on both hosts: colo secondary --config FILE runs one side of it, ' +
      'colo primary --config FILE the other. colo init writes one.',
  );
  page.para(
    'The secondary makes the images that are missing and have a size, exports its disks, and ' +
      'waits. The primary does the same with its images, asks its peer whether that runs the ' +
      'guest, and otherwise runs it; beside it, it tries to reach the secondary, attaches the ' +
      'replicas and enters COLO. A secondary that comes later than that: colo protect.',
  );
  page.para(
    'A side that has taken over runs the guest alone until it is given a secondary. When the ' +
      'other host is back: colo secondary --config FILE --side a there (a is what the file ' +
      'calls primary, b what it calls secondary), and colo protect NAME --config FILE here. The ' +
      'disks are compared and what differs is copied while the guest runs. Then the next ' +
      'failover may come, in that direction, and so on.',
  );
  page.para(
    'Each image carries a record of its pair: colo image record IMAGE shows it. A primary ' +
      'that had a secondary, and was started again, runs its guest only when the secondary has ' +
      'agreed, or by colo failover: it waits for as long as that takes. An older image is never ' +
      'copied over a newer one. Where no record says which is newer, and both hold data that ' +
      'differs, the pair is refused until colo primary --config FILE --sync-from primary (or ' +
      'secondary) says once whose disks are kept.',
  );
  page.para(
    'Paths of images, kernel and scripts are relative to the file. What the command line ' +
      'gives replaces what the file says of a thing that there is once (-m, -accel, -name), and ' +
      'adds to what there may be many of (-device, -drive). A mistake is told with file, line ' +
      'and column.',
  );
  page.section_('KEYS');
  keys(page, pairFields);
  page.section_('EXAMPLE').code(...defaultExample.trimEnd().split('\n'));
  return page.seeAlso(
    ['colo', 1],
    ['colo-init', 1],
    ['colo-primary', 1],
    ['colo-secondary', 1],
    ['colo-protect', 1],
    ['colo', 7],
  );
}

function keys(page: Page, fields: PairFields): void {
  for (const [key, { kind, needed, summary, example }] of Object.entries(fields)) {
    const stop = summary.endsWith('.') ? '' : '.';
    const sentence = `${summary.charAt(0).toUpperCase()}${summary.slice(1)}${stop}`;
    page.item(
      `${bold(key)} (${escape(kind.form)}${needed ? ', needed' : ''})`,
      sentence,
      kind.inner ? '' : `Example: ${key}: ${example}`,
    );
    if (!kind.inner) continue;
    page.raw('.RS');
    keys(page, kind.inner);
    page.raw('.RE');
  }
}
