/**
 * The project's own files, for the tests that read the source: paths are relative to the root, with
 * forward slashes.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, posix, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

export function filesUnder(folder: string, suffix: string): string[] {
  const base = join(root, folder);
  if (!existsSync(base)) return [];
  const walk = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true }).flatMap(entry => {
      const path = join(dir, entry.name);
      return entry.isDirectory() ? walk(path) : [path];
    });
  return walk(base)
    .map(path => relative(root, path))
    .filter(path => path.endsWith(suffix))
    .sort();
}

export const read = (path: string) => readFileSync(join(root, path), 'utf8');
export const readBytes = (path: string) => readFileSync(join(root, path));
export const exists = (path: string) =>
  existsSync(join(root, path)) && statSync(join(root, path)).isFile();

/** What git would commit: tracked, and new but not ignored. */
export function committable(): string[] {
  const list = execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '-z'],
    { cwd: root, encoding: 'utf8' },
  );
  return list.split('\0').filter(path => path !== '' && exists(path));
}

export interface Import {
  readonly from: string;
  /** A file of ours, or undefined for a package or a missing file. */
  readonly to: string | undefined;
  readonly specifier: string;
  readonly line: number;
}

const parsed = new Map<string, ts.SourceFile>();

export function parse(path: string): ts.SourceFile {
  const known = parsed.get(path);
  if (known) return known;
  const file = ts.createSourceFile(path, read(path), ts.ScriptTarget.ES2022, true);
  parsed.set(path, file);
  return file;
}

/** import and export statements, import() and import types. */
export function importsOf(path: string): Import[] {
  const file = parse(path);
  const found: Import[] = [];
  const add = (node: ts.Node | undefined) => {
    if (!node || !ts.isStringLiteral(node)) return;
    found.push({
      from: path,
      to: resolve(path, node.text),
      specifier: node.text,
      line: lineOf(file, node),
    });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0]);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

export function lineOf(file: ts.SourceFile, node: ts.Node): number {
  return file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;
}

function resolve(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  const path = posix.join(posix.dirname(from), specifier);
  return [path.replace(/\.js$/, '.ts'), `${path}.ts`, path].find(exists);
}
