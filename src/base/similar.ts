/** "Did you mean": the known words nearest to a mistyped one, best first. */
export function similar(word: string, known: Iterable<string>): string[] {
  const limit = Math.max(1, Math.floor(word.length / 3));
  const near: { candidate: string; far: number }[] = [];
  for (const candidate of known) {
    const prefix = word.length >= 2 && candidate.startsWith(word);
    const far = prefix
      ? 0.5
      : distance(word.toLowerCase().slice(0, 64), candidate.toLowerCase().slice(0, 64));
    if (far <= limit) near.push({ candidate, far });
  }
  return near
    .sort((a, b) => a.far - b.far || (a.candidate < b.candidate ? -1 : 1))
    .map(n => n.candidate);
}

/** Optimal string alignment: insert, delete, replace, swap neighbours. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}

/** ` Did you mean 'x'?`, or ''. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const [best] = similar(word, known);
  return best === undefined ? '' : ` Did you mean '${best}'?`;
}
