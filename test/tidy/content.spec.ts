/**
 * What may not stand in a file: calls that bypass the ports, notes to do things later, default
 * exports, `any`, paths of one machine, compiled binaries. Method: the syntax tree for calls, text
 * for the rest. What is spelled here is spelled in pieces, so that this file passes.
 */
import ts from 'typescript';
import { committable, filesUnder, lineOf, parse, read, readBytes } from '../support/sources.js';

const sources = filesUnder('src', '.ts');
const mayTouchTheWorld = (path: string) => /^src\/(host\/node|commands)\//.test(path);

const bannedCalls = new Set([
  'Date.now',
  'Math.random',
  'crypto.randomBytes',
  'crypto.randomUUID',
  'randomBytes',
  'randomUUID',
  'performance.now',
  'process.hrtime',
  'process.hrtime.bigint',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'fetch',
]);
const bannedModules =
  /^(node:)?(fs|net|dgram|tls|https?|child_process|worker_threads|timers|dns|os)(\/.*)?$/;

test('time, chance, files and the network come from src/host', () => {
  const wrong: string[] = [];
  for (const path of sources.filter(p => !mayTouchTheWorld(p))) {
    const file = parse(path);
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && bannedCalls.has(node.expression.getText(file)))
        wrong.push(`${path}:${lineOf(file, node)} ${node.expression.getText(file)}()`);
      if (
        ts.isNewExpression(node) &&
        node.expression.getText(file) === 'Date' &&
        !node.arguments?.length
      )
        wrong.push(`${path}:${lineOf(file, node)} new Date()`);
      if (
        ts.isImportDeclaration(node) &&
        bannedModules.test((node.moduleSpecifier as ts.StringLiteral).text) &&
        !node.importClause?.isTypeOnly
      )
        wrong.push(`${path}:${lineOf(file, node)} ${node.moduleSpecifier.getText(file)}`);
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  expect(wrong).toEqual([]);
});

test('only commands and host/node read the process', () => {
  const wrong: string[] = [];
  for (const path of sources.filter(p => !mayTouchTheWorld(p))) {
    const file = parse(path);
    const visit = (node: ts.Node): void => {
      if (ts.isPropertyAccessExpression(node) && node.expression.getText(file) === 'process')
        wrong.push(`${path}:${lineOf(file, node)} ${node.getText(file)}`);
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  expect(wrong).toEqual([]);
});

test('no default exports, no any', () => {
  const wrong: string[] = [];
  for (const path of sources) {
    const file = parse(path);
    const excused = new Set(
      read(path)
        .split('\n')
        .flatMap((line, i) => (line.includes('no-explicit-any') ? [i + 1, i + 2] : [])),
    );
    const visit = (node: ts.Node): void => {
      const isDefault =
        ts.isExportAssignment(node) ||
        (ts.canHaveModifiers(node) &&
          ts.getModifiers(node)?.some(m => m.kind === ts.SyntaxKind.DefaultKeyword));
      if (isDefault) wrong.push(`${path}:${lineOf(file, node)} default export`);
      if (node.kind === ts.SyntaxKind.AnyKeyword && !excused.has(lineOf(file, node)))
        wrong.push(`${path}:${lineOf(file, node)} any`);
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  expect(wrong).toEqual([]);
});

const texts = committable().filter(
  path =>
    /\.(ts|js|json|md|cc|h|gyp|gypi|sh|yml|yaml|py|S|c)$/.test(path) &&
    path !== 'package-lock.json',
);

test('nothing is left to do later', () => {
  const later = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b`);
  expect(matching(later)).toEqual([]);
});

test('no paths of one machine', () => {
  const machine = new RegExp(
    ['/work/(main|shared)', '/tmp/' + 'wt/', '/ro' + 'ot/', '/ho' + 'me/[a-z]'].join('|'),
  );
  expect(matching(machine)).toEqual([]);
});

function matching(pattern: RegExp): string[] {
  return texts
    .filter(path => path !== 'test/tidy/content.spec.ts')
    .flatMap(path =>
      read(path)
        .split('\n')
        .flatMap((line, i) =>
          pattern.test(line) ? [`${path}:${i + 1} ${line.trim().slice(0, 80)}`] : [],
        ),
    );
}

test('no compiled binaries', () => {
  const isBinary = (path: string) => {
    const head = readBytes(path).subarray(0, 4).toString('latin1');
    return head === '\x7fELF' || head.startsWith('!<ar') || /\.(node|o|a|so)$/.test(path);
  };
  expect(committable().filter(isBinary)).toEqual([]);
});
