/**
 * The few roff words that our pages need (man(7)). Text is given plain; what roff would take for a
 * request or an escape is escaped here.
 */

/** A long word of options may be broken after a comma. */
const breakable = (word: string) => word.replaceAll(',', ',\\:');

export function escape(text: string): string {
  const safe = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('"', '\\(dq')
    .replace(/\S{40,}/g, breakable);
  return safe.startsWith('.') ? `\\&${safe}` : safe;
}

export const bold = (text: string) => `\\fB${escape(text)}\\fR`;

export class Page {
  private readonly lines: string[] = [];

  constructor(
    readonly name: string,
    readonly section: number,
    summary: string,
    since: string,
  ) {
    this.lines.push(
      '.\\" Made by `npm run man` from the declarations: change those.',
      `.TH ${name.toUpperCase()} ${section} "" "colo ${since}" "colo"`,
      '.nh',
      '.ad l',
    );
    this.section_('NAME').raw(`${escape(name)} \\- ${escape(summary)}`);
  }

  get file(): string {
    return `${this.name}.${this.section}`;
  }

  get text(): string {
    return `${this.lines.join('\n')}\n`;
  }

  raw(line: string): this {
    this.lines.push(line);
    return this;
  }

  section_(title: string): this {
    return this.raw(`.SH ${title}`);
  }

  sub(title: string): this {
    return this.raw(`.SS ${escape(title)}`);
  }

  para(text: string): this {
    return this.raw('.PP').raw(escape(text));
  }

  /** A term and what it means; nothing of an empty meaning. */
  item(term: string, ...meaning: string[]): this {
    this.raw('.TP').raw(term);
    const [first = '', ...others] = meaning.filter(line => line !== '');
    this.raw(first === '' ? '\\&' : escape(first));
    for (const line of others) this.raw('.br').raw(escape(line));
    return this;
  }

  code(...lines: string[]): this {
    return this.raw('.PP')
      .raw('.RS 4')
      .raw('.nf')
      .raw(lines.map(escape).join('\n'))
      .raw('.fi')
      .raw('.RE');
  }

  seeAlso(...pages: [name: string, section: number][]): this {
    return this.section_('SEE ALSO').raw(
      pages
        .filter(([name, section]) => `${name}.${section}` !== this.file)
        .map(([name, section]) => `${bold(name)}(${section})`)
        .join(',\n'),
    );
  }
}
