/**
 * The named points of a checkpoint and of a failover, for fault injection: the machine passes a
 * hook, and a chaos run ends the process at the n-th passing of one. Without a hook they cost a
 * call to an empty function.
 */
import { type MessageType, messageKinds } from './messages.js';

const primarySteps = [
  'primary-stopped',
  'primary-staged',
  'primary-cut',
  'primary-resumed',
  'primary-half-pages',
  'primary-half-blob',
  'primary-offered',
  'primary-before-release',
  'primary-released',
  'primary-committed',
  'primary-aborted',
  'primary-disks-stopped',
  'primary-recorded',
  'primary-alone',
  'primary-gate-closed',
  'primary-handing-over',
] as const;
const secondarySteps = [
  'secondary-checked',
  'secondary-half-applied',
  'secondary-ram-applied',
  'secondary-devices-applied',
  'secondary-disk-committed',
  'secondary-committed',
] as const;
const takeoverSteps = [
  'takeover-fenced',
  'takeover-exports-dropped',
  'takeover-disk-merged',
  'takeover-recorded',
  'takeover-network-open',
  'takeover-running',
] as const;

export type MessageStep = `${'primary' | 'secondary'}-${'sent' | 'got'}-${MessageType}`;
export type ColoStep =
  | (typeof primarySteps)[number]
  | (typeof secondarySteps)[number]
  | (typeof takeoverSteps)[number]
  | MessageStep;

const messageSteps = messageKinds.flatMap(({ name, from }): MessageStep[] => {
  const byPrimary: MessageStep[] = [`primary-sent-${name}`, `secondary-got-${name}`];
  const bySecondary: MessageStep[] = [`secondary-sent-${name}`, `primary-got-${name}`];
  return from === 'primary'
    ? byPrimary
    : from === 'secondary'
      ? bySecondary
      : [...byPrimary, ...bySecondary];
});

/** Every step there is. */
export const coloSteps: readonly ColoStep[] = [
  ...messageSteps,
  ...primarySteps,
  ...secondarySteps,
  ...takeoverSteps,
];

export type StepHook = (step: ColoStep) => void;
