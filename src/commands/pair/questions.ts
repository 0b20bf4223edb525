/**
 * How `colo init` comes to its answers: what is usual, what is asked at all; each answer is checked
 * as the file would be.
 */
import { LineCounter, Scalar } from 'yaml';
import { asVmError } from '../../base/errors.js';
import type { AnswerName } from './answers.js';
import { integer, type Kind, matching, size, text } from './fields.js';
import { defaultDelayMs, pairFields } from './schema.js';
import type { Values } from './write.js';

export type Answers = Readonly<Partial<Record<AnswerName, string>>>;

export interface Question {
  readonly kind: Kind<unknown>;
  /** An empty answer is one. */
  readonly mayBeEmpty?: boolean;
  /** What is usual; undefined: somebody must say it. */
  usual(answers: Answers): string | undefined;
  /** Without it: always asked. */
  when?(answers: Answers): boolean;
}

const host = matching(
  /^([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])$/,
  'a host name or an address',
  'IPv6 in brackets: [fd00::2]',
);
const image = text('a path');
const tap = matching(/^[A-Za-z0-9_.-]{1,15}$/, 'the name of an interface');
const isLocal = ({ peer = '' }: Answers) => /^(localhost|127\.|\[::1\])/.test(peer);
const hasDisk = ({ disk = '' }: Answers) => disk !== '';
const hasTap = (answers: Answers) => (answers.tap ?? '') !== '';

export const questions: Readonly<Record<AnswerName, Question>> = {
  name: { kind: pairFields.name.kind, usual: () => 'vm' },
  peer: { kind: host, usual: () => '127.0.0.1' },
  port: { kind: integer(1, 65_534), usual: () => '8888' },
  memory: { kind: size('M'), usual: () => '512M' },
  kernel: { kind: image, usual: () => undefined },
  initrd: { kind: image, mayBeEmpty: true, usual: () => '' },
  append: { kind: text(), mayBeEmpty: true, usual: () => 'console=ttyS0' },
  disk: { kind: image, mayBeEmpty: true, usual: () => '' },
  replica: {
    kind: image,
    usual: a => (isLocal(a) ? a.disk?.replace(/(\.[^./]*)?$/, '-replica$1') : a.disk),
    when: hasDisk,
  },
  size: { kind: size('B'), mayBeEmpty: true, usual: () => '', when: hasDisk },
  tap: { kind: tap, mayBeEmpty: true, usual: () => '' },
  'replica-tap': {
    kind: tap,
    usual: a => (isLocal(a) ? `${a.tap?.slice(0, 13)}-s` : a.tap),
    when: hasTap,
  },
  delay: { kind: pairFields['checkpoint-delay'].kind, usual: () => String(defaultDelayMs) },
};

/** true, or what is wrong with the answer. */
export function checkAnswer(name: AnswerName, answer: string): true | string {
  const { kind, mayBeEmpty } = questions[name];
  if (answer === '' && mayBeEmpty) return true;
  try {
    kind.parse({
      file: '',
      lines: new LineCounter(),
      path: '',
      node: new Scalar(answer),
      offset: 0,
    });
    return true;
  } catch (error) {
    const { message, options } = asVmError(error);
    return [message.replace(/^[0-9:]+ /, ''), options.hint]
      .filter(part => part !== undefined)
      .join('. ');
  }
}

/** The definition that they amount to. */
export function valuesOf(answers: Answers): Values {
  const given = (name: AnswerName): string | undefined =>
    answers[name] === '' ? undefined : answers[name];
  const at = (n: number) => `tcp:${answers.peer}:${Number(answers.port) + n}`;
  return {
    name: answers.name,
    memory: answers.memory,
    kernel: answers.kernel,
    initrd: given('initrd'),
    append: given('append'),
    'checkpoint-delay': Number(answers.delay),
    peer: { migration: at(0), nbd: hasDisk(answers) ? at(1) : undefined },
    disks: hasDisk(answers)
      ? [{ primary: answers.disk, secondary: answers.replica, size: given('size') }]
      : undefined,
    network: hasTap(answers)
      ? [{ primary: answers.tap, secondary: answers['replica-tap'] }]
      : undefined,
  };
}
