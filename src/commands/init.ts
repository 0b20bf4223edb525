/** `colo init [FILE]`: a pair definition from answers on a terminal, or from flags. */
import { existsSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import { systemError } from '../host/node/errors.js';
import { confirm } from './ask.js';
import { BaseCommand } from './base.js';
import { UsageError } from './options/argv.js';
import { type AnswerName, answerNames, wanted } from './pair/answers.js';
import type { InitAnswers } from './pair/questions.js';
import { BACK, Questioner } from './question.js';
import { filesLike } from './typist.js';

const answerFlag = (name: AnswerName) =>
  [name, Flags.string({ helpValue: wanted[name].value, description: wanted[name].text })] as const;

export class Init extends BaseCommand {
  static override readonly summary =
    'write a pair definition: the file that both sides are started with';
  static override readonly description =
    'Asks on a terminal what the flags leave open; elsewhere, or with --yes, takes the usual ' +
    'value. The file is commented YAML, colo-pair(5). Then: colo secondary --config FILE on ' +
    'one host, colo primary --config FILE on the other. What goes over a network needs --tls or ' +
    '--insecure.';
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
    tls: Flags.boolean({
      description:
        'make certificates for both sides, with openssl, in a folder beside the file: all ' +
        'channels are authenticated and encrypted',
      exclusive: ['insecure'],
    }),
    insecure: Flags.boolean({
      description: 'no TLS, though the other host is reached over a network',
    }),
    yes: Flags.boolean({ char: 'y', description: 'ask nothing; overwrite an old file' }),
  };

  async run(): Promise<{ file: string; name: string; tls?: string }> {
    const { args, flags } = await this.parse(Init);
    const [inquiry, { writePair }, { parsePair }] = await Promise.all([
      import('./pair/questions.js'),
      import('./pair/write.js'),
      import('./pair/read.js'),
    ]);
    const given: InitAnswers = Object.fromEntries(answerNames.map(name => [name, flags[name]]));
    for (const name of answerNames) {
      const verdict = given[name] === undefined || inquiry.checkAnswer(name, given[name]);
      if (verdict !== true) throw new UsageError(`--${name}: ${verdict}`);
    }
    const mayAsk = process.stdin.isTTY && process.stderr.isTTY && !flags.yes && !this.jsonEnabled();
    const folder = dirname(args.file);
    const there = (path: string) => path === '' || existsSync(resolve(folder, path));
    const { answers, security } = mayAsk
      ? await this.interview(inquiry, given, folder, { there, said: saidOf(flags) })
      : await unasked(inquiry, given, saidOf(flags));
    for (const name of mustExist) {
      const path = answers[name] ?? '';
      if (!there(path))
        this.note(
          `warning: --${name} ${path}: there is no such file on this host; it must be on both ` +
            'hosts of the pair',
        );
    }
    const dir = security === 'tls' ? certificatesOf(args.file) : undefined;
    const text = writePair({
      ...inquiry.valuesOf(answers),
      tls: dir === undefined ? undefined : { dir },
      insecure: security === 'insecure' ? true : undefined,
    });
    const { name } = parsePair(text, args.file);
    if (args.file !== '-' && existsSync(args.file))
      await confirm(`${args.file} exists: it would be overwritten.`, flags);
    if (dir !== undefined) await this.certify(join(folder, dir), name, answers, flags);
    this.save(args.file, text);
    if (dir !== undefined) this.tellCopies(args.file, dir, answers, inquiry);
    return { file: args.file, name, ...(dir !== undefined && { tls: join(folder, dir) }) };
  }

  /** In the folder that was not there, or is given up. */
  private async certify(
    path: string,
    name: string,
    { own, peer }: InitAnswers,
    flags: { yes: boolean },
  ): Promise<void> {
    if (existsSync(path))
      await confirm(`${path} exists: its certificates would be replaced on both hosts.`, flags);
    const { makeCertificates } = await import('./pair/certificates.js');
    const hosts = (host: string | undefined) => (host ? [host] : []);
    await makeCertificates(path, name, { a: hosts(own), b: hosts(peer) });
  }

  private tellCopies(file: string, dir: string, answers: InitAnswers, { isLocal }: Inquiry): void {
    this.note(`made ${join(dirname(file), dir)}: what both sides prove who they are with`);
    if (isLocal(answers)) return;
    const folder = resolve(dirname(file));
    this.note(
      `Copy what side b needs to its host, into the same folder:\n  tar -C ${folder} -c ` +
        `${basename(file)} ${dir}/b | ssh ${answers.peer} tar -C ${folder} -x\n` +
        `${dir}/ca-key.pem makes further certificates: keep it on neither host.`,
    );
  }

  private async interview(
    inquiry: Inquiry,
    given: InitAnswers,
    folder: string,
    { there, said }: { there: (path: string) => boolean; said: Said },
  ): Promise<Decided> {
    this.note('Tab completes, Up goes back to the former question, Ctrl-C writes nothing.');
    const questioner = new Questioner();
    try {
      const ask = asker(questioner, folder, checker(inquiry, there));
      const answers = await complete(inquiry, given, ask);
      const security = said ?? (inquiry.isLocal(answers) ? undefined : await askTls(questioner));
      return { answers, security };
    } finally {
      questioner.close();
    }
  }

  private save(file: string, text: string): void {
    if (file === '-') return void (this.jsonEnabled() || process.stdout.write(text));
    try {
      writeFileSync(file, text);
    } catch (error) {
      throw systemError(`Could not write '${file}'`, error);
    }
    const next = /^arbiter:/m.test(text)
      ? `  colo run ${file}     on each of them, in any order`
      : `  colo secondary --config ${file}     on the secondary\n` +
        `  colo primary --config ${file}       on the primary`;
    this.note(`wrote ${file}\nNext, with this file on both hosts:\n${next}`);
  }
}

/** Paths of what colo does not make; relative ones are below the definition. */
const mustExist = ['kernel', 'initrd'] as const;

type Inquiry = typeof import('./pair/questions.js');
type Answer = string | typeof BACK;
type Ask = (name: AnswerName, usual: string | undefined) => Promise<Answer>;

type Said = 'tls' | 'insecure' | undefined;
interface Decided {
  readonly answers: InitAnswers;
  readonly security: Said;
}

const saidOf = (flags: { tls: boolean; insecure: boolean }): Said =>
  flags.tls ? 'tls' : flags.insecure ? 'insecure' : undefined;

async function unasked(inquiry: Inquiry, given: InitAnswers, said: Said): Promise<Decided> {
  const answers = await complete(inquiry, given, undefined);
  if (said === undefined && !inquiry.isLocal(answers))
    throw new UsageError(
      `--peer ${answers.peer} is reached over a network: say --tls, which makes certificates for ` +
        'both sides, or --insecure',
      { hint: 'Without TLS all who get there may read the guest and change it.' },
    );
  return { answers, security: said };
}

/** Over a network; Enter is the safe answer. */
async function askTls(questioner: Questioner): Promise<Said> {
  const question = {
    text: 'Certificates for both sides? no: all who get to this network may change the guest',
    usual: 'yes',
    check: (word: string): true | string => /^(yes|no)$/.test(word) || "'yes' or 'no'",
  };
  let answer: Answer = BACK;
  while (answer === BACK) answer = await questioner.ask(question);
  return answer === 'no' ? 'insecure' : 'tls';
}

/** The folder beside the definition. */
function certificatesOf(file: string): string {
  if (file === '-')
    throw new UsageError('--tls: the certificates need a file beside which they lie', {
      hint: 'colo init FILE --tls',
    });
  return `${basename(file).replace(/\.[^.]*$/, '')}-tls`;
}

/** What the flags leave open is asked, or is as usual. */
async function complete(
  { questions }: Inquiry,
  given: InitAnswers,
  ask: Ask | undefined,
): Promise<InitAnswers> {
  const answers: Partial<Record<AnswerName, string>> = {};
  /** Those that a question gave, in order; and of all that were, where they differ from usual. */
  const asked: AnswerName[] = [];
  const former: Partial<Record<AnswerName, string>> = {};
  for (let n = 0; n < answerNames.length; n++) {
    const name = answerNames[n];
    const { when, usual } = questions[name];
    delete answers[name];
    if (when && !when(answers)) continue;
    const offered = former[name] ?? usual(answers);
    const mayBeAsked = given[name] === undefined && ask;
    const answer = mayBeAsked ? await ask(name, offered) : (given[name] ?? offered);
    if (answer === BACK) {
      n = answerNames.indexOf(asked.pop() ?? name) - 1;
      continue;
    }
    answers[name] = answer ?? missing(name);
    if (!mayBeAsked) continue;
    asked.push(name);
    if (answer !== usual(answers)) former[name] = answer;
  }
  return answers;
}

function missing(name: AnswerName): never {
  throw new UsageError(`--${name} is missing: ${wanted[name].text}`, {
    hint:
      `Give it with --${name} ${wanted[name].value}; on a terminal, without --yes, colo ` +
      'init asks.',
  });
}

/**
 * there: is a path that must exist on this host? One that is not is taken when it is given twice:
 * the hosts may be others.
 */
function checker({ checkAnswer }: Inquiry, there: (path: string) => boolean) {
  let doubted = '';
  return (name: AnswerName, answer: string): true | string => {
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
}

/** Paths are completed as they are meant: below the definition's folder. */
function asker(
  questioner: Questioner,
  folder: string,
  check: (name: AnswerName, answer: string) => true | string,
): Ask {
  return (name, usual) => {
    const { text, value } = wanted[name];
    return questioner.ask({
      text: `${text.charAt(0).toUpperCase()}${text.slice(1)}`,
      usual,
      complete: value === 'PATH' ? begun => filesLike(begun, folder) : undefined,
      check: answer => check(name, answer),
    });
  };
}
