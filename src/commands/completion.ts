/** `colo completion SHELL`: what bash or zsh needs to complete commands, flags, and the names of VMs. */
import { Args, type Command } from '@oclif/core';
import { BaseCommand } from './base.js';
import { optionTable } from './options/table.js';

/** Their first argument is an address. */
const takeAddress = ['monitor', 'hmp', 'qmp', 'status', 'failover', 'protect'];

export class Completion extends BaseCommand {
  static override readonly summary = 'print the completion script of a shell';
  static override readonly description = 'Completes commands, flags, options, and the names of the VMs that run. For good: put the line of the example into ~/.bashrc or ~/.zshrc.';
  static override readonly examples = ['source <(<%= config.bin %> completion bash)', 'source <(<%= config.bin %> completion zsh)'];
  static override readonly args = { shell: Args.string({ ignoreStdin: true, required: true, options: ['bash', 'zsh'], description: 'bash or zsh' }) };

  async run(): Promise<void> {
    const { args } = await this.parse(Completion);
    process.stdout.write(completionScript(args.shell === 'zsh', this.config.commands));
  }
}

export function completionScript(zsh: boolean, commands: readonly Pick<Command.Loadable, 'id' | 'flags'>[]): string {
  const sorted = [...commands].sort((a, b) => (a.id < b.id ? -1 : 1));
  const cases = sorted.map(({ id, flags }) => `    "${id.replaceAll(':', ' ')}${id.includes(':') ? '"' : ' "*'}) offer="${wordsOf(id, Object.keys(flags)).join(' ')}" ;;`);
  const topics = [...new Set(sorted.filter(({ id }) => id.includes(':')).map(({ id }) => id.split(':')[0]))];
  const below = topics.map(topic => `    ${topic}:2) offer="${sorted.filter(({ id }) => id.startsWith(`${topic}:`)).map(({ id }) => id.split(':')[1]).join(' ')}" ;;`);
  return `# Completion of colo; made by \`colo completion\`.
${zsh ? 'autoload -U +X bashcompinit && bashcompinit\n' : ''}_colo() {
  local current="\${COMP_WORDS[COMP_CWORD]}" offer="" dir
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${[...new Set(sorted.map(({ id }) => id.split(':')[0]))].join(' ')}" -- "$current"))
    return
  fi
  case "\${COMP_WORDS[1]} \${COMP_WORDS[2]}" in
${cases.join('\n')}
  esac
  case "\${COMP_WORDS[1]}:$COMP_CWORD" in
${below.map(line => `${line}\n`).join('')}    ${takeAddress.map(id => `${id}:2`).join('|')})
      for dir in "\${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/colo" "$HOME/.local/state/colo/run"; do
        [ -d "$dir" ] && offer="$offer $(command ls "$dir")" && break
      done ;;
  esac
  COMPREPLY=($(compgen -W "$offer" -- "$current"))
}
complete -o default -F _colo colo
`;
}

function wordsOf(id: string, flags: readonly string[]): string[] {
  if (id === 'primary' || id === 'secondary') return optionTable.map(option => `-${option.name}`);
  return flags.map(flag => `--${flag}`);
}
