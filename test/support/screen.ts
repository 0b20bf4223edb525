/** A terminal screen of the simplest kind: what a person would see after these bytes. Only what readline writes. */
export class Screen {
  private readonly rows: string[] = [''];
  private row = 0;
  private column = 0;
  private rest = '';

  constructor(private readonly columns = 80) {}

  write(text: string): void {
    let input = this.rest + text;
    this.rest = '';
    while (input !== '') {
      const escape = /^\x1b(?:\[([0-9;?]*)([A-Za-z])|[=>])/.exec(input);
      if (escape) {
        if (escape[2]) this.control(escape[2], Number(escape[1]?.split(';')[0] || (escape[2] === 'J' || escape[2] === 'K' ? 0 : 1)));
        input = input.slice(escape[0].length);
      } else if (input.startsWith('\x1b')) {
        this.rest = input;
        return;
      } else {
        this.put(input[0]);
        input = input.slice(1);
      }
    }
  }

  /** Without empty rows at the end. */
  get text(): string {
    return this.rows.map(row => row.trimEnd()).join('\n').trimEnd();
  }

  /** The row of the cursor up to the cursor. */
  get typed(): string {
    return (this.rows[this.row] ?? '').slice(0, this.column);
  }

  private put(c: string): void {
    if (c === '\r') this.column = 0;
    else if (c === '\n') this.move(this.row + 1, this.column);
    else if (c === '\b') this.column = Math.max(0, this.column - 1);
    else if (c >= ' ') {
      if (this.column >= this.columns) this.move(this.row + 1, 0);
      const row = this.rows[this.row].padEnd(this.column);
      this.rows[this.row] = row.slice(0, this.column) + c + row.slice(this.column + 1);
      this.column++;
    }
  }

  private move(row: number, column: number): void {
    this.row = Math.max(0, row);
    this.column = Math.max(0, column);
    while (this.rows.length <= this.row) this.rows.push('');
  }

  private control(code: string, n: number): void {
    if (code === 'A') this.move(this.row - n, this.column);
    else if (code === 'B') this.move(this.row + n, this.column);
    else if (code === 'C') this.move(this.row, this.column + n);
    else if (code === 'D') this.move(this.row, this.column - n);
    else if (code === 'G') this.move(this.row, n - 1);
    else if (code === 'K' && n === 0) this.rows[this.row] = this.rows[this.row].slice(0, this.column);
    else if (code === 'J' && n === 0) {
      this.rows[this.row] = this.rows[this.row].slice(0, this.column);
      this.rows.length = this.row + 1;
    }
  }
}
