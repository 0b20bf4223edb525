/** `colo init [FILE]`: a pair definition from answers on a terminal, or from flags. */
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { VmError } from '../base/errors.js';
import { systemError } from '../host/node/errors.js';
import { confirm } from './ask.js';
import { BaseCommand } from './base.js';
import { UsageError } from './options/argv.js';
import { type AnswerName, answerNames, wanted } from './pair/answers.js';
import type { Answers } from './pair/questions.js';

const answerFlag = (name: AnswerName) =>
  [name, Flags.string({ helpValue: wanted[name].value, description: wanted[name].text })] as const;

export class Init extends BaseCommand {
  static override readonly summary =
    'write a pair definition: the file that both sides are started with';
  static override readonly description =
    'Asks on a terminal what the flags leave open; elsewhere, or with --yes, takes the usual ' +
    'value. The file is commented YAML, colo-pair(5). Then: colo secondary --config FILE on ' +
    'one host, colo primary --config FILE on the other.';
  static override readonly examples = [
    '<%= config.bin %> init web.yaml',
    '<%= config.bin %> init web.yaml --name web --peer 10.0.0.2 --kernel vmlinuz --initrd ' +
      'initrd.img --disk web.img --size 10G --tap tap-web --yes',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = {
    file: Args.string({
      ignoreStdin: true,
      default: 'pair.yaml',
      description: 'the file to write; - is standard output',
    }),
  };
  static override readonly flags = {
    ...(Object.fromEntries(answerNames.map(answerFlag)) as Record<
      AnswerName,
      ReturnType<typeof answerFlag>[1]
    >),
    yes: Flags.boolean({ char: 'y', description: 'ask nothing; overwrite an old file' }),
  };

  async run(): Promise<{ file: string; name: string }> {
    const { args, flags } = await this.parse(Init);
    const [inquiry, { writePair }, { parsePair }] = await Promise.all([
      import('./pair/questions.js'),
      import('./pair/write.js'),
      import('./pair/read.js'),
    ]);
    const given: Answers = Object.fromEntries(answerNames.map(name => [name, flags[name]]));
    for (const name of answerNames) {
      const verdict = given[name] === undefined || inquiry.checkAnswer(name, given[name]);
      if (verdict !== true) throw new UsageError(`--${name}: ${verdict}`);
    }
    const mayAsk = process.stdin.isTTY && process.stderr.isTTY && !flags.yes && !this.jsonEnabled();
    const there = (path: string) => path === '' || existsSync(resolve(dirname(args.file), path));
    const answers = await complete(
      inquiry,
      given,
      mayAsk ? await asker(inquiry, there) : undefined,
    );
    for (const name of mustExist) {
      const path = answers[name] ?? '';
      if (!there(path))
        this.note(
          `warning: --${name} ${path}: there is no such file on this host; it must be on both ` +
            'hosts of the pair',
        );
    }
    const text = writePair(inquiry.valuesOf(answers));
    const { name } = parsePair(text, args.file);
    await this.save(args.file, text, flags);
    return { file: args.file, name };
  }

  private async save(file: string, text: string, flags: { yes: boolean }): Promise<void> {
    if (file === '-') return void (this.jsonEnabled() || process.stdout.write(text));
    if (existsSync(file)) await confirm(`${file} exists: it would be overwritten.`, flags);
    try {
      writeFileSync(file, text);
    } catch (error) {
      throw systemError(`Could not write '${file}'`, error);
    }
    this.note(
      `wrote ${file}\nNext, with this file on both hosts:\n  colo secondary --config ${file}  ` +
        `   on the secondary\n  colo primary --config ${file}       on the primary`,
    );
  }
}

/** Paths of what colo does not make; relative ones are below the definition. */
const mustExist = ['kernel', 'initrd'] as const;

type Inquiry = typeof import('./pair/questions.js');
type Ask = (name: AnswerName, usual: string | undefined) => Promise<string>;

/** What the flags leave open is asked, or is as usual. */
async function complete(
  { questions }: Inquiry,
  given: Answers,
  ask: Ask | undefined,
): Promise<Answers> {
  const answers: Partial<Record<AnswerName, string>> = {};
  for (const name of answerNames) {
    const { when, usual } = questions[name];
    if (when && !when(answers)) continue;
    const answer = given[name] ?? (ask ? await ask(name, usual(answers)) : usual(answers));
    if (answer === undefined)
      throw new UsageError(`--${name} is missing: ${wanted[name].text}`, {
        hint:
          `Give it with --${name} ${wanted[name].value}; on a terminal, without --yes, colo ` +
          'init asks.',
      });
    answers[name] = answer;
  }
  return answers;
}

/**
 * there: is a path that must exist on this host? One that is not is taken when it is given twice:
 * the hosts may be others.
 */
async function asker({ checkAnswer }: Inquiry, there: (path: string) => boolean): Promise<Ask> {
  let doubted = '';
  const check = (name: AnswerName, answer: string): true | string => {
    const verdict = checkAnswer(name, answer);
    if (
      verdict !== true ||
      !mustExist.some(path => path === name) ||
      there(answer) ||
      doubted === answer
    )
      return verdict;
    doubted = answer;
    return (
      `there is no '${answer}' on this host. Enter once more if it is on the hosts of the ` + 'pair'
    );
  };
  const { default: inquirer } = await import('inquirer');
  const prompt = inquirer.createPromptModule({ output: process.stderr });
  return async (name, usual) => {
    const { text } = wanted[name];
    const question = {
      type: 'input',
      name: 'answer',
      message: `${text.charAt(0).toUpperCase()}${text.slice(1)}`,
      default: usual,
      validate: (answer: string) => check(name, answer),
    } as const;
    try {
      const answers: { answer: string } = await prompt([question]);
      return answers.answer;
    } catch (error) {
      throw error instanceof Error && error.name === 'ExitPromptError'
        ? new VmError('nothing was written')
        : error;
    }
  };
}
