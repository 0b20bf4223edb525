/**
 * How `colo init` comes to its answers: what is usual, what is asked at all; each answer is checked
 * as the file would be.
 */
import { LineCounter, Scalar } from 'yaml';
import { asVmError } from '../../base/errors.js';
import type { AnswerName } from './answers.js';
import { integer, type Kind, matching, sizeIn, nonEmpty } from './fields.js';
import { defaultDelayMs, pairFields } from './schema.js';
import type { Values } from './write.js';

export type InitAnswers = Readonly<Partial<Record<AnswerName, string>>>;

export interface Question {
  readonly kind: Kind<unknown>;
  /** An empty answer is one. */
  readonly mayBeEmpty?: boolean;
  /** What is usual; undefined: somebody must say it. */
  usual(answers: InitAnswers): string | undefined;
  /** Without it: always asked. */
  when?(answers: InitAnswers): boolean;
}

const host = matching(
  /^([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])$/,
  'a host name or an address',
  'IPv6 in brackets: [fd00::2]',
);
const image = nonEmpty('a path');
const tap = matching(/^[A-Za-z0-9_.-]{1,15}$/, 'the name of an interface');
export const isLocal = ({ peer = '' }: InitAnswers) => /^(localhost|127\.|\[::1\])/.test(peer);
const hasDisk = ({ disk = '' }: InitAnswers) => disk !== '';
const hasTap = (answers: InitAnswers) => (answers.tap ?? '') !== '';

export const questions: Readonly<Record<AnswerName, Question>> = {
  name: { kind: pairFields.name.kind, usual: () => 'vm' },
  peer: { kind: host, usual: () => '127.0.0.1' },
  port: { kind: integer(1, 65_534), usual: () => '8888' },
  own: { kind: host, mayBeEmpty: true, usual: a => (isLocal(a) ? a.peer : '') },
  arbiter: { kind: pairFields.arbiter.kind, mayBeEmpty: true, usual: () => '' },
  memory: { kind: sizeIn('M'), usual: () => '512M' },
  kernel: { kind: image, usual: () => undefined },
  initrd: { kind: image, mayBeEmpty: true, usual: () => '' },
  append: { kind: nonEmpty(), mayBeEmpty: true, usual: () => 'console=ttyS0' },
  disk: { kind: image, mayBeEmpty: true, usual: () => '' },
  replica: {
    kind: image,
    usual: a => (isLocal(a) ? a.disk?.replace(/(\.[^./]*)?$/, '-replica$1') : a.disk),
    when: hasDisk,
  },
  size: { kind: sizeIn('B'), mayBeEmpty: true, usual: () => '', when: hasDisk },
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
export function valuesOf(answers: InitAnswers): Values {
  const given = (name: AnswerName): string | undefined =>
    answers[name] === '' ? undefined : answers[name];
  const waitsAt = (where: string | undefined, n: number) => ({
    migration: `tcp:${where}:${Number(answers.port) + n}`,
    nbd: hasDisk(answers) ? `tcp:${where}:${Number(answers.port) + n + 1}` : undefined,
  });
  const own = given('own');
  return {
    name: answers.name,
    memory: answers.memory,
    kernel: answers.kernel,
    initrd: given('initrd'),
    append: given('append'),
    'checkpoint-delay': Number(answers.delay),
    peer: waitsAt(answers.peer, 0),
    back: own === undefined ? undefined : waitsAt(own, own === answers.peer ? 2 : 0),
    arbiter: given('arbiter'),
    disks: hasDisk(answers)
      ? [{ primary: answers.disk, secondary: answers.replica, size: given('size') }]
      : undefined,
    network: hasTap(answers)
      ? [{ primary: answers.tap, secondary: answers['replica-tap'] }]
      : undefined,
  };
}
