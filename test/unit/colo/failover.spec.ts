/**
 * Goal: the table of states is exactly what it should be. Method: all (state, event) pairs of both
 * sides, and walks through QEMU's words.
 */
import {
  FailoverStates,
  type TransitionTable,
  coloEvents,
  coloStates,
  failoverStatus,
  primaryTable,
  refusal,
  secondaryTable,
} from '../../../src/colo/failover.js';

const moves = (table: TransitionTable) =>
  coloStates.flatMap(s =>
    coloEvents.flatMap(e => (table[s]?.[e] ? [`${s} ${e} ${table[s][e]}`] : [])),
  );

it('primary: these moves and no others', () => {
  expect(moves(primaryTable)).toEqual([
    'none enter entering',
    'entering offered protected',
    'entering error none',
    'entering lost-heartbeat require',
    'protected offered protected',
    'protected error lost',
    'protected lost-heartbeat require',
    'protected peer-alone yielded',
    'protected peer-left require',
    'protected leave yielded',
    'protected guest-shutdown ended',
    'protected hand-over handing-over',
    'handing-over error lost',
    'handing-over peer-alone yielded',
    'handing-over peer-left require',
    'handing-over leave yielded',
    'lost lost-heartbeat require',
    'lost peer-alone yielded',
    'lost peer-left require',
    'lost leave yielded',
    'require begin active',
    'active done completed',
    'active failed lost',
  ]);
});

it('secondary: these moves and no others', () => {
  expect(moves(secondaryTable)).toEqual([
    'none enter entering',
    'entering received loading',
    'entering error none',
    'entering peer-alone none',
    'protected received loading',
    'protected error lost',
    'protected lost-heartbeat require',
    'protected peer-alone yielded',
    'protected leave yielded',
    'protected guest-shutdown ended',
    'protected hand-over handing-over',
    'loading loaded protected',
    'loading lost-heartbeat relaunch',
    'loading failed broken',
    'loading leave yielded',
    'relaunch loaded require',
    'relaunch failed broken',
    'relaunch leave yielded',
    'handing-over lost-heartbeat require',
    'handing-over peer-alone yielded',
    'handing-over leave yielded',
    'lost lost-heartbeat require',
    'lost peer-alone yielded',
    'lost leave yielded',
    'require begin active',
    'active done completed',
    'active failed unfinished',
    'active peer-alone yielded',
    'unfinished lost-heartbeat require',
  ]);
});

it('every state that waits for something can be left, and those at the end cannot', () => {
  for (const table of [primaryTable, secondaryTable])
    for (const end of ['completed', 'yielded', 'broken', 'ended'] as const)
      expect(table[end]).toBeUndefined();
});

it('refuses a move from another state and stays', () => {
  const failover = new FailoverStates(secondaryTable);
  expect(failover.move('lost-heartbeat')).toBe(false);
  expect(failover.state).toBe('none');
  expect(failover.can('enter')).toBe(true);
});

it('a failover asked while loading is relaunched', () => {
  const failover = new FailoverStates(secondaryTable);
  const walk = (['enter', 'received', 'lost-heartbeat', 'loaded', 'begin', 'done'] as const).map(
    event => (failover.move(event), failoverStatus(failover.state)),
  );
  expect(walk).toEqual(['none', 'none', 'relaunch', 'require', 'active', 'completed']);
});

it('says why', () => {
  expect(refusal('none')).toBe("The feature 'colo' is not enabled");
  expect(refusal('completed')).toBe("The feature 'colo' is not enabled");
  expect(refusal('active')).toBe('COLO failover is already actived');
  expect(refusal('entering')).toBe(
    'the secondary holds no complete first state yet: it cannot take over',
  );
  expect(refusal('broken')).toBe('the state of this secondary is not whole: it cannot take over');
});
