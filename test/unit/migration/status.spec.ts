/**
 * Goal: a migration moves as query-migrate's readers expect, active -> colo included, and any other
 * move is our mistake.
 */
import { Events } from '../../../src/base/events.js';
import { MigrationState } from '../../../src/migration/status.js';
import type { QmpEvents } from '../../../src/qapi/types.js';

function state() {
  const events = new Events<QmpEvents>();
  const told: string[] = [];
  events.on('MIGRATION', e => told.push(e.status));
  let now = 0;
  return { told, migration: new MigrationState(events, () => (now += 10)) };
}

it('walks the primary and the secondary', () => {
  const p = state();
  for (const to of ['setup', 'active', 'colo', 'completed'] as const) p.migration.move(to);
  expect(p.told).toEqual(['setup', 'active', 'colo', 'completed']);
  const s = state();
  for (const to of ['active', 'colo', 'completed'] as const) s.migration.move(to);
  expect(s.told).toEqual(['active', 'colo', 'completed']);
});

it('keeps the error until the next attempt', () => {
  const { migration } = state();
  migration.move('setup');
  migration.move('failed', 'no route');
  expect(migration.data()).toMatchObject({ status: 'failed', error: 'no route' });
  migration.move('setup');
  expect(migration.data().error).toBeUndefined();
});

it('asserts on a move that does not exist', () => {
  const { migration } = state();
  expect(() => migration.move('completed')).toThrow('migration state none -> completed');
});
