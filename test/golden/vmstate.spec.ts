/**
 * Goal: a layout that changes raises its version, for a peer may be older. Method: fields and sizes
 * of every device's declaration against a copy; UPDATE_GOLDEN=1 renews it, and the commit shows
 * what changed.
 */
import { test } from '@jest/globals';
import { FullBoard } from '../support/full-board.js';
import { expectGolden } from '../support/golden.js';

function layouts(): string {
  const seen = new Map<string, string>();
  for (const { vmstate } of new FullBoard().devices) {
    const fields = Object.entries(vmstate.layout.fields).map(
      ([name, field]) => `  ${name} ${field.size ?? 'varies'}`,
    );
    seen.set(
      vmstate.name,
      [
        `${vmstate.name} ${vmstate.version}, ${vmstate.save(vmstate.reset()).length} bytes at ` +
          'reset',
        ...fields,
      ].join('\n'),
    );
  }
  return `${[...seen.values()].join('\n')}\n`;
}

test('layouts are as recorded', () => {
  expectGolden(new URL('vmstate.txt', import.meta.url), layouts());
});
