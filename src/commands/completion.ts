/**
 * `colo completion SHELL`: what bash or zsh needs to complete commands, flags, the names of VMs and
 * of monitor commands.
 */
import { Args, type Command } from '@oclif/core';
import { BaseCommand } from './base.js';
import type { VmOption } from './options/option.js';

/** Their first argument is an address. */
const takeAddress = [
  'monitor',
  'hmp',
  'qmp',
  'status',
  'failover',
  'switchover',
  'leave',
  'protect',
];

/** Of the monitor's commands. */
export interface MonitorNames {
  readonly qmp: readonly string[];
  readonly hmp: readonly string[];
}

export class Completion extends BaseCommand {
  static override readonly summary = 'print the completion script of a shell';
  static override readonly description =
    'Completes commands, flags, options, the names of the VMs that run, those of QMP and HMP ' +
    'commands, and files. For good: put the line of the example into ~/.bashrc or ~/.zshrc.';
  static override readonly examples = [
    'source <(<%= config.bin %> completion bash)',
    'source <(<%= config.bin %> completion zsh)',
  ];
  static override readonly args = {
    shell: Args.string({
      ignoreStdin: true,
      required: true,
      options: ['bash', 'zsh'],
      description: 'bash or zsh',
    }),
  };

  async run(): Promise<void> {
    const { args } = await this.parse(Completion);
    const { allCommands } = await import('../monitor/commands/all.js');
    const { optionTable } = await import('./options/table.js');
    const qmp = allCommands
      .filter(command => command.qmp)
      .map(({ name }) => name)
      .sort();
    const hmp = allCommands.flatMap(({ hmpName }) => hmpName?.split(' ')[0] ?? []);
    process.stdout.write(
      completionScript(
        args.shell === 'zsh',
        this.config.commands,
        { qmp, hmp: [...new Set(hmp)].sort() },
        optionTable,
      ),
    );
  }
}

/**
 * What begins with a dash is a flag; the word behind an option of a VM is what that declares;
 * another word is a name where one is wanted, and a file (by -o default) where none is.
 */
export function completionScript(
  zsh: boolean,
  commands: readonly Pick<Command.Loadable, 'id' | 'flags'>[],
  monitor: MonitorNames = { qmp: [], hmp: [] },
  options: readonly VmOption[] = [],
): string {
  const sorted = [...commands].sort((a, b) => (a.id < b.id ? -1 : 1));
  const cases = sorted.map(
    ({ id, flags }) =>
      `      "${id.replaceAll(':', ' ')}${id.includes(':') ? '"' : ' "*'}) ` +
      `offer="${dashed(id, Object.keys(flags), options).join(' ')}" ;;`,
  );
  const topics = [
    ...new Set(sorted.filter(({ id }) => id.includes(':')).map(({ id }) => id.split(':')[0])),
  ];
  const words = [
    ...topics.map(
      topic =>
        [
          `${topic}:2`,
          sorted.filter(({ id }) => id.startsWith(`${topic}:`)).map(({ id }) => id.split(':')[1]),
        ] as const,
    ),
    ['qmp:3', monitor.qmp] as const,
    ['hmp:3', monitor.hmp] as const,
  ];
  const firstWords = [...new Set(sorted.map(({ id }) => id.split(':')[0]))];
  const offers = words.map(([place, offer]) => `      ${place}) offer="${offer.join(' ')}" ;;\n`);
  return `# Completion of colo; made by \`colo completion\`.
${zsh ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_colo() {
  local current="\${COMP_WORDS[COMP_CWORD]}" offer="" dir
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${firstWords.join(' ')}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]}" in primary|secondary)
    case "\${COMP_WORDS[COMP_CWORD - 1]}" in
${valueCases(options)}    esac ;;
  esac
  case "$offer$current" in
  -*)
    case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${cases.join('\n')}
    esac ;;
  *)
    case "\${COMP_WORDS[1]}:$COMP_CWORD" in
${offers.join('')}      ${takeAddress.map(id => `${id}:2`).join('|')})
        for dir in "\${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/colo" /run/colo "$HOME/.local/state/colo/run"; do
          [ -d "$dir" ] && offer="$(command ls "$dir" 2>/dev/null)" && break
        done ;;
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$offer" -- "$current"))
  case "\${COMPREPLY[*]}" in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _colo colo
`;
}

const isVm = (id: string) => id === 'primary' || id === 'secondary';

function dashed(id: string, flags: readonly string[], options: readonly VmOption[]): string[] {
  return isVm(id) ? options.map(({ name }) => `-${name}`) : flags.map(flag => `--${flag}`);
}

/** A case of the shell for each option whose value has declared words. */
function valueCases(options: readonly VmOption[]): string {
  return options
    .flatMap(({ name, aliases = [], offers = [] }) => {
      const spelled = [name, ...aliases].flatMap(word => [`-${word}`, `--${word}`]).join('|');
      return offers.length > 0 ? [`      ${spelled}) offer="${offers.join(' ')}" ;;\n`] : [];
    })
    .join('');
}
